"""The FCN of sgr_fcn.py with SGR, which has 64 regions, 16 of them active."""

from ..common.sgr import add_sgr
from .sgr_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train


def add_small_sgr(model, dataloader, optimizer):
    """Add a small SGR to any of the models on ShapeScenes, and return its settings."""
    sgr = add_sgr(model, dataloader, optimizer)
    sgr.update(num_concepts=64, num_active=16)
    return sgr


sgr = add_small_sgr(model, dataloader, optimizer)
train.output_dir = "./output/shape_scenes_sgr_sgr"
