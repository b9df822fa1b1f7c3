"""The Mask R-CNN of transfer_mask_rcnn.py with GloRe."""

from ..common.sgr import add_glore_to_detector
from .transfer_mask_rcnn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

add_glore_to_detector(model)
model.backbone.components.res5.norm = "BN"
train.output_dir = "./output/transfer_mask_rcnn_glore"
