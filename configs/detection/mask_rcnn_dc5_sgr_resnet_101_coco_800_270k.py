"""Mask R-CNN with a dilated ResNet-101 and SGR on res5, whose tokens are not supervised during fine-tuning.

To start from the exported backbone of an FCN with SGR, set train.init_backbone.file=FILE.
"""

from ..common.sgr import add_sgr_to_detector
from .mask_rcnn_dc5_resnet_101_coco_800_270k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_sgr_to_detector(model)
