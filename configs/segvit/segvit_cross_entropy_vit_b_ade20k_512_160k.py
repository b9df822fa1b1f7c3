"""SegViT with one level and cross entropy on the combined scores: the second row of the paper's Table 4."""

from detectron2.config import LazyCall as L

from tokenseg.segvit.head import CombinedCrossEntropy

from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

model.backbone.out_blocks = ["${vit.last_block}"]
model.sem_seg_head.criterion = L(CombinedCrossEntropy)(ignore_value="${dataset.ignore_label}")
