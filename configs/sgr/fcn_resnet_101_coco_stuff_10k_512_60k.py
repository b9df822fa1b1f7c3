from ..common.data.coco_stuff_10k import dataloader, dataset
from ..common.optim import poly as lr_multiplier
from ..common.optim import sgd as optimizer
from ..common.schedules import train_for_60k
from ..common.train import train
from .model import fcn as model
from .model import pyramid, train_by_sgd

train_for_60k(train)
train_by_sgd(optimizer, lr_multiplier, lr=0.004)
