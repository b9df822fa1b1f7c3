from ..common.backbones.vit import vit_l as vit
from ..common.data.coco_stuff_10k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.pixels import HALF
from ..common.schedules import train_for_80k
from ..common.train import train
from .model import model

train_for_80k(train)
optimizer.update(lr=2e-5)
optimizer.params.lr_factors = {"sem_seg_head": 8.0}
model.update(HALF)
