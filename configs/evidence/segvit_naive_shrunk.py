"""SegViT with naive shrinking: the upper blocks have half the rows and columns of patches, and masks have this grid."""

from ..segvit.model import shrink_naively
from .segvit import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink_naively(model, block=3)
train.output_dir = "./output/evidence/segvit_naive_shrunk_${dataset.level}"
