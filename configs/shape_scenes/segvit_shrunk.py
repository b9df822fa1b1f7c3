"""Shrunk SegViT, with half the rows and columns of patches in the upper half of the blocks."""

from ..segvit.model import shrink
from .segvit import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink(model, block=3)
model.sem_seg_head.bases.bases.dropout = 0.0
train.output_dir = "./output/shape_scenes_segvit_shrunk"
