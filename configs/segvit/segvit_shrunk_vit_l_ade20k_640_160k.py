from .model import shrink
from .segvit_vit_l_ade20k_640_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

shrink(model, block=8)
