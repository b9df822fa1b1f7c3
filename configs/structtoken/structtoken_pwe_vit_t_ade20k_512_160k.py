from ..common.backbones.vit import vit_t as vit
from ..common.data.ade20k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import model

train_for_160k(train)
optimizer.update(lr=2e-5)
optimizer.params.lr_factors = {"sem_seg_head": 9.0}
