"""StructToken-CSE instead of PWE."""

from tokenseg.structtoken.blocks import cross_slice_blocks

from .structtoken_pwe import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.blocks._target_ = cross_slice_blocks
train.output_dir = "./output/shape_scenes_structtoken_cse"
