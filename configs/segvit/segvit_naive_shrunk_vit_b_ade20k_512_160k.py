"""Fig. 3b of the paper: fewer tokens, and masks of their coarser grid."""

from .model import shrink_naively
from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink_naively(model, block=6)
