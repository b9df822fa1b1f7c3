from ..common.backbones.pyramid import resnet101 as pyramid
from ..common.data.cityscapes import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_80k
from ..common.sgr import measure_tokens
from ..common.train import train
from .hosts import mask_former as model
from .hosts import train_mask_former

dataset.update(crop=768)
dataloader.train.total_batch_size = 8
train_for_80k(train)
train_mask_former(optimizer, lr_multiplier, train)
measure_tokens(dataloader)
