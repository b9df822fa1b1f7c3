"""The FCN with SGR: 64 regions, of which 16 are active."""

from ..shape_scenes.sgr_sgr import add_small_sgr
from .fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_small_sgr(model, dataloader, optimizer)
# The ground is twenty times as large as the objects that distinguish classes. So a component is only dropped if it is
# much smaller than the largest one of its own class, and not of the image.
dataloader.train.mapper.label_targets.components.within = "class"
train.output_dir = "./output/evidence/fcn_sgr_${dataset.level}"
