"""Shrunk SegViT whose upsampling queries initially attend to their own positions; in the paper they are random."""

from tokenseg.segvit.shrunk import TiedQueryUpsample

from .segvit_shrunk import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.bases.bases._target_ = TiedQueryUpsample
train.output_dir = "./output/evidence/segvit_shrunk_tied_${dataset.level}"
