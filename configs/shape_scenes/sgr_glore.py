"""The FCN of sgr_fcn.py with GloRe."""

from ..common.sgr import add_glore
from .sgr_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore(model, dataloader, optimizer)
model.backbone.components.res5.norm = "BN"
train.output_dir = "./output/shape_scenes_sgr_glore"
