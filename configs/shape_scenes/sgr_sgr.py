"""The same FCN with SGR: 64 regions, of which 16 are active."""

from ..common.sgr import add_sgr
from .sgr_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train


def add_small_sgr(model, dataloader, optimizer):
    """SGR as small as the models here, into any of them."""
    sgr = add_sgr(model, dataloader, optimizer)
    sgr.update(num_concepts=64, num_active=16)
    return sgr


sgr = add_small_sgr(model, dataloader, optimizer)
train.output_dir = "./output/shape_scenes_sgr_sgr"
