from ..common.backbones.pyramid import resnet101c as pyramid
from ..common.data.ade20k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_160k
from ..common.sgr import measure_tokens
from ..common.train import train
from .hosts import mask_former as model
from .hosts import train_mask_former

model.backbone.multi_grid = [1, 2, 4]
train_for_160k(train)
train_mask_former(optimizer, lr_multiplier, train)
measure_tokens(dataloader)
