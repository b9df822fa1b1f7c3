"""SegViT with tokens that are updated from the masks of each level, by the modules of ECENet."""

from ..segvit.segvit_gated_vit_b_ade20k_512_160k import model as _gated
from .segvit import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.updater = _gated.sem_seg_head.updater
train.output_dir = "./output/evidence/segvit_gated_${dataset.level}"
