from .fcn_resnet_101_cityscapes_768_80k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train
from .model import add_glore

add_glore(model, dataloader, optimizer)
