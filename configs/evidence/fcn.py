"""The baseline of SGR: its dilated FCN without SGR."""

from ..sgr.model import fcn as model
from .model import dataloader, dataset, dilated_resnet, lr_multiplier, optimizer, start_from_pretrained, train

dataset.level = "context"
pyramid, model.backbone = dilated_resnet()
model.sem_seg_head.update(width=64, dropout=0.0, norm="BN")
model.extra_losses.auxiliary.head.update(width=32, dropout=0.0, norm="BN")
start_from_pretrained(model, "resnet")
optimizer.params.lr_factors["extra_losses"] = 10.0
train.output_dir = "./output/evidence/fcn_${dataset.level}"
