from ..common.backbones.vit import vit_b as vit
from ..common.data.ade20k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import decoder, model

train_for_160k(train)
train.clip_grad_norm = 35.0
optimizer.update(lr=2e-5, weight_decay=0.01)
# In the authors' code, the rule for names with `head` takes precedence over that for `norm`. So the norms of the head
# get the head's learning rate, and weight decay.
optimizer.params.update(lr_factors={"sem_seg_head": 10.0}, decay_norms=["sem_seg_head"])
