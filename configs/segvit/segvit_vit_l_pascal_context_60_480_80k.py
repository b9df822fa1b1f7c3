from ..common.data.pascal_context_60 import dataloader, dataset
from ..common.schedules import train_for_80k
from .segvit_vit_l_ade20k_640_160k import decoder, lr_multiplier, model, optimizer, train, vit

train_for_80k(train)
optimizer.weight_decay = 0.03
model.inference.stride = 320
