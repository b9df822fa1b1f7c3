"""Detectron2's own R101-C4 with Detectron2's weights, which are downloaded on first use.

The weights are a pickle, which can run any code when it is read, so set train.allow_pickle=true if you trust it.
"""

from ..common.data.coco_instances import dataloader, dataset
from ..common.optim import sgd as optimizer
from ..common.optim import step as lr_multiplier
from ..common.schedules import train_for_270k
from ..common.train import train
from .model import c4_msra as model
from .model import train_by_sgd

train_for_270k(train)
train_by_sgd(optimizer, lr_multiplier, train)
dataset.image_format = "BGR"
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-101.pkl"
