"""The FCN with SGR: 64 regions, of which 16 are active."""

from ..shape_scenes.sgr_sgr import add_small_sgr
from .fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_small_sgr(model, dataloader, optimizer)
train.output_dir = "./output/evidence/fcn_sgr_${dataset.level}"
