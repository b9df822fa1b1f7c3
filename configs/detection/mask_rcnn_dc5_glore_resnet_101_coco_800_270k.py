"""Mask R-CNN with a dilated ResNet-101 and GloRe on res5.

To start from the exported backbone of an FCN with GloRe, set train.init_backbone.file=FILE.
"""

from ..common.sgr import add_glore_to_detector
from .mask_rcnn_dc5_resnet_101_coco_800_270k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore_to_detector(model)
