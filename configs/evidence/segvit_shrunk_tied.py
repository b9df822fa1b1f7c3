"""Shrunk SegViT whose queries look at their own places from the start, beside the paper's random ones."""

from tokenseg.segvit.shrunk import TiedQueryUpsample

from .segvit_shrunk import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.bases.bases._target_ = TiedQueryUpsample
train.output_dir = "./output/evidence/segvit_shrunk_tied_${dataset.level}"
