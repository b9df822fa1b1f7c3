from ..common.data.pascal_context_60 import dataloader, dataset
from .segvit_vit_l_ade20k_640_160k import decoder, lr_multiplier, model, optimizer, train, vit

train.update(max_iter=80_000, eval_period=8_000)
optimizer.weight_decay = 0.03
model.inference.stride = 320
