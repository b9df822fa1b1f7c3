from ..common.backbones.pyramid import resnet101d as pyramid
from ..common.data.ade20k import dataloader, dataset
from ..common.optim import poly as lr_multiplier
from ..common.optim import sgd as optimizer
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import model

train_for_160k(train)
lr_multiplier.power = 0.9
# The last two stages are dilated to stride 8. Stochastic depth and norms of the maps are only for Swin.
model.backbone.update(output_stride=8, norm="SyncBN", out_norm=False, drop_path_rate=0.0)
model.inference.stride = 341
