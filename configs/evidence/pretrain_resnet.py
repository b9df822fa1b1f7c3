"""Pretraining of the dilated ResNet for SGR's rows."""

from .model import dataloader, dataset, dilated_resnet, lr_multiplier, optimizer, pretraining, train

dataset.level = "context"
pyramid, _backbone = dilated_resnet()
model = pretraining(_backbone, {"res4": "${pyramid.channels[2]}", "res5": "${pyramid.channels[3]}"})
train.output_dir = "./output/evidence/pretrain_resnet_${dataset.level}/seed_${train.seed}"
