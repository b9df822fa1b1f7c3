from ..common.backbones.pyramid import swin_l as pyramid
from ..common.data.cityscapes import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.train import train
from .model import model

train.update(max_iter=160_000, eval_period=16_000)
optimizer.update(lr=6e-5)
dataset.update(crop=1024)
dataloader.train.total_batch_size = 8
model.sem_seg_head.extraction.alpha = 3.0
model.inference.stride = 768
