"""SegViT with the backbone and the schedule of structtoken_pwe.py, whose learning rate is also the best for SegViT."""

from ..segvit.model import decoder, model
from .structtoken_pwe import dataloader, dataset, lr_multiplier, optimizer, train, vit
from .structtoken_pwe import model as _yardstick

decoder.update(width=64, num_heads=4)
model.backbone = _yardstick.backbone
model.backbone.out_blocks = [1, 3, 5]
model.backbone.timm_args.class_token = False
model.sem_seg_head.update(dropout=0.0, init_std=0.05)  # 0.02 for 384 channels, scaled to 64
model.update(pixel_mean=_yardstick.pixel_mean, pixel_std=_yardstick.pixel_std, inference=_yardstick.inference)
train.output_dir = "./output/shape_scenes_segvit"
