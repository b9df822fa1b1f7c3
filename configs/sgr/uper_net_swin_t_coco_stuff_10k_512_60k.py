from ..common.backbones.pyramid import swin_t as pyramid
from ..common.data.coco_stuff_10k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_60k
from ..common.train import train
from .hosts import train_uper_net
from .hosts import uper_net as model

train_for_60k(train)
train_uper_net(optimizer)
