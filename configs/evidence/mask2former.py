"""Mask2Former with the backbone of SGR's FCN, a mask classifier, whose queries are also tokens."""

from ..sgr.hosts import mask2former as model
from .mask_former import dataloader, dataset, lr_multiplier, optimizer, pyramid, train
from .mask_former import model as _mask_former

model.backbone = _mask_former.backbone
model.sem_seg_head.update(num_queries=20, width=64, num_layers=6, num_heads=4, hidden=256)
model.sem_seg_head.update(num_encoder_layers=2, encoder_hidden=128)
model.sem_seg_head.criterion.sampling.num_points = 1024
train.output_dir = "./output/evidence/mask2former_${dataset.level}"
