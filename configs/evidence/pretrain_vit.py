"""The ViT of StructToken's and SegViT's rows, before any head."""

from .model import dataloader, dataset, lr_multiplier, optimizer, plain_vit, pretraining, train

vit, _backbone = plain_vit()
model = pretraining(_backbone, {"block${vit.last_block}": "${vit.channels}"})
train.output_dir = "./output/evidence/pretrain_vit_${dataset.level}/seed_${train.seed}"
