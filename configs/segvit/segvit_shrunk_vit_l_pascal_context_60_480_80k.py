from .model import shrink
from .segvit_vit_l_pascal_context_60_480_80k import (
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
