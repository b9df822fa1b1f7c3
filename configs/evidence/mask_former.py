"""MaskFormer with the backbone of SGR's FCN, a mask classifier, whose queries are also tokens."""

from ..common.sgr import measure_tokens
from ..sgr.hosts import mask_former as model
from .fcn import dataloader, dataset, lr_multiplier, optimizer, pyramid, train
from .fcn import model as _fcn

model.backbone = _fcn.backbone
model.backbone.out_features = ["res2", "res3", "res4", "res5"]
model.sem_seg_head.update(num_queries=20, width=64, num_layers=3, num_heads=4, hidden=256, dropout=0.0)
optimizer.params.lr_factors = {"sem_seg_head": 10.0}
measure_tokens(dataloader)
train.output_dir = "./output/evidence/mask_former_${dataset.level}"
