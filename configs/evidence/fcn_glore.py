"""The FCN with GloRe."""

from ..common.sgr import add_glore
from .fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore(model, dataloader, optimizer)
model.backbone.components.res5.norm = "BN"
train.output_dir = "./output/evidence/fcn_glore_${dataset.level}"
