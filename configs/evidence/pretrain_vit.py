"""Pretraining of the ViT for the rows of StructToken and SegViT."""

from .model import dataloader, dataset, lr_multiplier, optimizer, plain_vit, pretraining, train

vit, _backbone = plain_vit()
model = pretraining(_backbone, {"block${vit.last_block}": "${vit.channels}"})
train.output_dir = "./output/evidence/pretrain_vit_${dataset.level}/seed_${train.seed}"
