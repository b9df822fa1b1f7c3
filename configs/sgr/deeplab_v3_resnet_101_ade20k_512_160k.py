from ..common.data.ade20k import dataloader, dataset
from ..common.optim import poly as lr_multiplier
from ..common.optim import sgd as optimizer
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import deeplab_v3 as model
from .model import pyramid, train_by_sgd

train_for_160k(train)
train_by_sgd(optimizer, lr_multiplier, lr=0.004)
