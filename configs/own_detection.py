"""Mask R-CNN with a dilated ResNet-50 on your own boxes and masks; see projects/tokenseg/datasets/DETECTION_DATA.md."""

from .common.backbones.pyramid import resnet50 as pyramid
from .common.data.own_coco import dataloader, dataset
from .common.optim import poly as lr_multiplier
from .common.optim import sgd as optimizer
from .common.train import train
from .detection.model import dc5 as model

train.update(output_dir="./output/own_detection", max_iter=4000, eval_period=500, best_metric="segm/AP")
train.checkpointer.period = 500
optimizer.update(lr=0.01, weight_decay=1e-4)
lr_multiplier.warmup_iter = 200
