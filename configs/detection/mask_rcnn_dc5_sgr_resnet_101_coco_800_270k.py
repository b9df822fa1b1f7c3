"""With SGR after res5, whose tokens are not supervised while it is fine-tuned.

Backbone and component may come from an exported FCN + SGR: train.init_backbone.file=FILE.
"""

from ..common.sgr import add_sgr_to_detector
from .mask_rcnn_dc5_resnet_101_coco_800_270k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_sgr_to_detector(model)
