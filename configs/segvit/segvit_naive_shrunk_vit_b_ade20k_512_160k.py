"""SegViT with naive shrinking (Fig. 3b of the paper): the upper blocks have fewer tokens, and masks have their grid."""

from .model import shrink_naively
from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink_naively(model, block=6)
