"""The baseline of SegViT: SETR's naive decoder."""

from ..segvit.setr_naive_vit_b_ade20k_512_160k import model as _setr
from .structtoken_pwe import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

model.update(_target_=_setr._target_, sem_seg_head=_setr.sem_seg_head)
model.sem_seg_head.layers.width = 64
train.output_dir = "./output/evidence/setr_naive_${dataset.level}"
