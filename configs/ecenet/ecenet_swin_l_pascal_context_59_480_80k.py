import math

from ..common.backbones.pyramid import swin_l as pyramid
from ..common.data.pascal_context_59 import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_80k
from ..common.train import train
from .model import model

train_for_80k(train)
optimizer.update(lr=6e-5)
model.sem_seg_head.extraction.alpha = math.sqrt(2)
model.inference.stride = 320
