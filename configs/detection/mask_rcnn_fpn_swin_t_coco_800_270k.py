from ..common.backbones.pyramid import swin_t as pyramid
from ..common.data.coco_instances import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import step as lr_multiplier
from ..common.schedules import train_for_270k
from ..common.train import train
from .model import fpn_swin as model
from .model import train_swin

train_for_270k(train)
train_swin(optimizer, lr_multiplier, train)
