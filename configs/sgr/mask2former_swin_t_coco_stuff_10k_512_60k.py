from ..common.backbones.pyramid import swin_t as pyramid
from ..common.data.coco_stuff_10k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_60k
from ..common.sgr import measure_tokens
from ..common.train import train
from .hosts import mask2former as model
from .hosts import train_mask2former

train_for_60k(train)
train_mask2former(optimizer, lr_multiplier, train)
measure_tokens(dataloader)
