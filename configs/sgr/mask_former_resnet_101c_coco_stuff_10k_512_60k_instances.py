"""Measures S_I and D_I on COCO val2017, for --eval-only of a model trained on COCO-Stuff-10K (Table 2)."""

from ..common.sgr import measure_instances
from .mask_former_resnet_101c_coco_stuff_10k_512_60k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    pyramid,
    train,
)

measure_instances(dataset, dataloader)
