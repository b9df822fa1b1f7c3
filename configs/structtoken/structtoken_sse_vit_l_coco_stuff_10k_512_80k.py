from tokenseg.structtoken.blocks import self_slice_blocks

from .structtoken_pwe_vit_l_coco_stuff_10k_512_80k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
    vit,
)

model.sem_seg_head.blocks._target_ = self_slice_blocks
optimizer.params.lr_factors = {"sem_seg_head": 6.0}
