from ..common.backbones.vit import vit_l as vit
from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train

decoder.update(width=512, num_heads=16)
model.backbone.update(out_blocks=[7, 15, 23], drop_path_rate=0.3)
dataset.update(short_side=640, crop=640)
model.inference.stride = 608
