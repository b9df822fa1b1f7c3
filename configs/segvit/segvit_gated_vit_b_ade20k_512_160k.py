"""SegViT with tokens that are updated from the masks of each level by ECENet's modules: a row of ECENet's Table 7."""

from detectron2.config import LazyCall as L

from tokenseg.layers.class_embedding import ExplicitClassExtraction, GatedClassUpdater
from tokenseg.segvit.head import MaskUpdate

from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train, vit

model.sem_seg_head.updater = L(MaskUpdate)(
    extract=L(ExplicitClassExtraction)(num_classes="${dataset.num_classes}", width="${decoder.width}", alpha=1.0),
    update=L(GatedClassUpdater)(width="${decoder.width}"),
)
