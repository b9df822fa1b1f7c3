import math

from ..common.backbones.pyramid import swin_l as pyramid
from ..common.data.pascal_context_59 import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.train import train
from .model import model

train.update(max_iter=80_000, eval_period=8_000)
optimizer.update(lr=6e-5)
model.sem_seg_head.extraction.alpha = math.sqrt(2)
model.inference.stride = 320
