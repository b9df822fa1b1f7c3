"""The baseline of StructToken, its per-pixel counterpart: four residual blocks of K channels."""

from ..structtoken.per_pixel_vit_t_ade20k_512_160k import model as counterpart
from .structtoken_pwe import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.update(_target_=counterpart._target_, sem_seg_head=counterpart.sem_seg_head)
train.output_dir = "./output/shape_scenes_per_pixel"
