from tokenseg.structtoken.blocks import self_slice_blocks

from .structtoken_pwe_vit_b_ade20k_512_160k import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.blocks._target_ = self_slice_blocks
optimizer.lr = 2e-5
optimizer.params.lr_factors = {"sem_seg_head": 8.0}
