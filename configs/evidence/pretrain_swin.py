"""The Swin of ECENet's rows, before any head: a linear layer on each of its maps that is fine enough for it."""

from .model import dataloader, dataset, lr_multiplier, optimizer, pretraining, swin, train

pyramid, _backbone = swin()
model = pretraining(_backbone, {f"res{place + 2}": f"${{pyramid.channels[{place}]}}" for place in range(4)})
train.output_dir = "./output/evidence/pretrain_swin_${dataset.level}/seed_${train.seed}"
