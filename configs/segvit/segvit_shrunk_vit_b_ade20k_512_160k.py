from .model import shrink
from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink(model, block=6)
