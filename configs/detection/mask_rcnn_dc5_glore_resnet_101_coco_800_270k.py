"""With GloRe after res5.

Backbone and component may come from an exported FCN + GloRe: train.init_backbone.file=FILE.
"""

from ..common.sgr import add_glore_to_detector
from .mask_rcnn_dc5_resnet_101_coco_800_270k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore_to_detector(model)
