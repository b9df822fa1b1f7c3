"""StructToken-SSE instead of PWE."""

from tokenseg.structtoken.blocks import self_slice_blocks

from .structtoken_pwe import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.blocks._target_ = self_slice_blocks
train.output_dir = "./output/shape_scenes_structtoken_sse"
