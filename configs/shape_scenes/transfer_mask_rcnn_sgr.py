"""The Mask R-CNN of transfer_mask_rcnn.py with SGR, whose tokens are not supervised during this training."""

from ..common.sgr import add_sgr_to_detector
from .transfer_mask_rcnn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_sgr_to_detector(model)
sgr.update(num_concepts=64)
train.output_dir = "./output/transfer_mask_rcnn_sgr"
