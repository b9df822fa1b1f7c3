"""Mask R-CNN with a feature pyramid on a Swin-T, and SGR on res5, below the pyramid."""

from ..common.sgr import add_sgr_to_detector
from .mask_rcnn_fpn_swin_t_coco_800_270k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_sgr_to_detector(model, place="backbone.bottom_up")
