"""Mask2Former with the backbone of hosts_fcn_tuned.py, and few queries, layers and points."""

from ..sgr.hosts import mask2former as model
from .hosts_mask_former import dataloader, dataset, lr_multiplier, optimizer, pyramid, train
from .hosts_mask_former import model as _mask_former

model.backbone = _mask_former.backbone
model.sem_seg_head.update(num_queries=20, width=64, num_layers=6, num_heads=4, hidden=256)
model.sem_seg_head.update(num_encoder_layers=2, encoder_hidden=128)
model.sem_seg_head.criterion.sampling.num_points = 1024
train.output_dir = "./output/shape_scenes_hosts_mask2former"
