"""Naive Shrunk: fewer tokens, and masks of their coarser grid."""

from ..segvit.model import shrink_naively
from .segvit import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink_naively(model, block=3)
train.output_dir = "./output/evidence/segvit_naive_shrunk_${dataset.level}"
