"""SETR's naive decoder instead of SegViT's: the first row of SegViT's Table 4."""

from detectron2.config import LazyCall as L

from tokenseg.hosts.per_pixel import PerPixelHead, bottleneck_layers
from tokenseg.segmentor import Segmentor

from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model._target_ = Segmentor
model.backbone.out_blocks = ["${vit.last_block}"]
model.sem_seg_head = L(PerPixelHead)(
    in_feature="block${vit.last_block}",
    layers=L(bottleneck_layers)(channels="${vit.channels}", width=256, num_classes="${dataset.num_classes}"),
    ignore_value="${dataset.ignore_label}",
)
