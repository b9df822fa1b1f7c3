from ..common.sgr import add_sgr
from .deeplab_v3_resnet_101_cityscapes_768_80k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    pyramid,
    train,
)

sgr = add_sgr(model, dataloader, optimizer)
