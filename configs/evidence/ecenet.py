"""ECENet with the small Swin."""

from ..ecenet.model import model
from .model import begin, dataloader, dataset, lr_multiplier, optimizer, swin, train

pyramid, model.backbone = swin()
model.sem_seg_head.update(width=64, dropout=0.0, norm="BN")
begin(model, "swin")
train.output_dir = "./output/evidence/ecenet_${dataset.level}"
