"""The per-pixel baseline of the paper's section IV-E: four residual blocks instead of structure tokens."""

from detectron2.config import LazyCall as L

from tokenseg.hosts.per_pixel import PerPixelHead, residual_layers
from tokenseg.segmentor import Segmentor

from .structtoken_pwe_vit_t_ade20k_512_160k import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model._target_ = Segmentor
model.sem_seg_head = L(PerPixelHead)(
    in_feature="block${vit.last_block}",
    layers=L(residual_layers)(channels="${vit.channels}", num_classes="${dataset.num_classes}", num_blocks=4),
    ignore_value="${dataset.ignore_label}",
)
