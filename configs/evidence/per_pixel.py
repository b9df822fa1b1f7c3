"""The baseline of StructToken, its per-pixel counterpart: four residual blocks of K channels."""

from ..structtoken.per_pixel_vit_t_ade20k_512_160k import model as _counterpart
from .structtoken_pwe import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.update(_target_=_counterpart._target_, sem_seg_head=_counterpart.sem_seg_head)
train.output_dir = "./output/evidence/per_pixel_${dataset.level}"
