from ..common.backbones.pyramid import swin_l as pyramid
from ..common.data.cityscapes import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import model

train_for_160k(train)
optimizer.update(lr=6e-5)
dataset.update(crop=1024)
dataloader.train.total_batch_size = 8
model.sem_seg_head.extraction.alpha = 3.0
model.inference.stride = 768
