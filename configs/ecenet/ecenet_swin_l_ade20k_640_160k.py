from ..common.backbones.pyramid import swin_l as pyramid
from .ecenet_swin_b_ade20k_640_160k import dataloader, dataset, lr_multiplier, model, optimizer, train
