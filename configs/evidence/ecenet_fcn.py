"""The baseline of ECENet: a fully convolutional head on all four stages."""

from ..shape_scenes.ecenet_fcn import model as _fcn
from .ecenet import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

model.update(_target_=_fcn._target_, sem_seg_head=_fcn.sem_seg_head)
train.output_dir = "./output/evidence/ecenet_fcn_${dataset.level}"
