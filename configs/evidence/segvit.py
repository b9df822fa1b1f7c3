"""SegViT with three levels of attention-to-mask."""

from ..segvit.model import decoder, model
from .model import dataloader, dataset, lr_multiplier, optimizer, plain_vit, start_from_pretrained, train

vit, model.backbone = plain_vit()
model.backbone.out_blocks = [1, 3, 5]
decoder.update(width=64, num_heads=4)
model.sem_seg_head.update(dropout=0.0, init_std=0.05)  # 0.02 for 384 channels, scaled to 64
start_from_pretrained(model, "vit")
train.output_dir = "./output/evidence/segvit_${dataset.level}"
