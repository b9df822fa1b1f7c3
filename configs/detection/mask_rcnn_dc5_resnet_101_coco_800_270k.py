from ..common.data.coco_instances import dataloader, dataset
from ..common.optim import sgd as optimizer
from ..common.optim import step as lr_multiplier
from ..common.schedules import train_for_270k
from ..common.train import train
from .model import dc5 as model
from .model import pyramid, train_by_sgd

train_for_270k(train)
train_by_sgd(optimizer, lr_multiplier, train)
