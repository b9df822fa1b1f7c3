from ..common.backbones.vit import beitv2_l as vit
from ..common.pixels import IMAGENET
from .segvit_vit_l_ade20k_640_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train

model.backbone.timm_args = {}
model.update(IMAGENET)
