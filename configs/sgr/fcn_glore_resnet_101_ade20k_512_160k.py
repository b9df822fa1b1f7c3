from ..common.sgr import add_glore
from .fcn_resnet_101_ade20k_512_160k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore(model, dataloader, optimizer)
