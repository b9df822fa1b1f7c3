from ..common.sgr import add_glore
from .fcn_resnet_101_cityscapes_768_80k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore(model, dataloader, optimizer)
