"""MaskFormer with the backbone of hosts_fcn_tuned.py, and few queries and narrow layers."""

from ..common.sgr import measure_tokens
from ..sgr.hosts import mask_former as model
from .hosts_uper_net import dataloader, dataset, lr_multiplier, optimizer, pyramid, train
from .hosts_uper_net import model as _uper_net

model.backbone = _uper_net.backbone
model.sem_seg_head.update(num_queries=20, width=64, num_layers=3, num_heads=4, hidden=256, dropout=0.0)
measure_tokens(dataloader)
train.output_dir = "./output/shape_scenes_hosts_mask_former"
