from ..common.sgr import add_glore
from .fcn_resnet_101_coco_stuff_10k_512_60k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore(model, dataloader, optimizer)
