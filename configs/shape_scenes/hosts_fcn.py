"""The FCN of sgr_fcn.py with stride 32 instead of 8, which trains the backbone from which the hosts start."""

from .sgr_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

model.backbone.output_stride = 32
train.output_dir = "./output/shape_scenes_hosts_fcn"
