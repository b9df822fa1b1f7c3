from tokenseg.structtoken.blocks import cross_slice_blocks

from .structtoken_pwe_vit_l_ade20k_640_160k import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.blocks._target_ = cross_slice_blocks
