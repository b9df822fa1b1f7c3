from ..common.sgr import add_sgr
from .fcn_resnet_101_ade20k_512_160k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_sgr(model, dataloader, optimizer)
