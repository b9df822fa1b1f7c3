from ..common.backbones.pyramid import swin_b as pyramid
from ..common.data.ade20k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import model

train_for_160k(train)
optimizer.update(lr=6e-5)
dataset.update(short_side=640, long_side=2560, crop=640)
