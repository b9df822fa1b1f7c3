"""Measures S_I and D_I on COCO val2017, for --eval-only of a model trained on COCO-Stuff-10K (Tables 2 and 4)."""

from ..common.sgr import measure_instances
from .fcn_sgr_resnet_101_coco_stuff_10k_512_60k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    pyramid,
    sgr,
    train,
)

measure_instances(dataset, dataloader)
