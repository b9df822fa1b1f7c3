from .model import shrink
from .segvit_vit_l_coco_stuff_10k_512_80k import (
    dataloader,
    dataset,
    decoder,
    lr_multiplier,
    model,
    optimizer,
    train,
    vit,
)

shrink(model, block=8)
