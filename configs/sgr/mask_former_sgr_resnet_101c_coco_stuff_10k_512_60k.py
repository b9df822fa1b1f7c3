from ..common.sgr import add_sgr
from .mask_former_resnet_101c_coco_stuff_10k_512_60k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    pyramid,
    train,
)

sgr = add_sgr(model, dataloader, optimizer)
