"""ECENet with the small Swin."""

from ..ecenet.model import model
from .model import dataloader, dataset, lr_multiplier, optimizer, start_from_pretrained, swin, train

pyramid, model.backbone = swin()
model.sem_seg_head.update(width=64, dropout=0.0, norm="BN")
start_from_pretrained(model, "swin")
train.output_dir = "./output/evidence/ecenet_${dataset.level}"
