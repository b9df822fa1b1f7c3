"""Pretraining of the Swin for ECENet's rows, with a linear classifier on each of its maps."""

from .model import dataloader, dataset, lr_multiplier, optimizer, pretraining, swin, train

pyramid, _backbone = swin()
model = pretraining(_backbone, {f"res{place + 2}": f"${{pyramid.channels[{place}]}}" for place in range(4)})
train.output_dir = "./output/evidence/pretrain_swin_${dataset.level}/seed_${train.seed}"
