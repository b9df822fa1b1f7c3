"""UperNet with the backbone and the schedule of hosts_fcn_tuned.py."""

from ..sgr.hosts import uper_net as model
from .hosts_fcn_tuned import dataloader, dataset, lr_multiplier, optimizer, pyramid, train
from .hosts_fcn_tuned import model as _fcn

model.backbone = _fcn.backbone
model.backbone.out_features = model.sem_seg_head.in_features = ["res2", "res3", "res4", "res5"]
model.sem_seg_head.update(width=64, dropout=0.0, norm="BN")
model.extra_losses.auxiliary.head.update(width=64, dropout=0.0, norm="BN")
train.output_dir = "./output/shape_scenes_hosts_uper_net"
