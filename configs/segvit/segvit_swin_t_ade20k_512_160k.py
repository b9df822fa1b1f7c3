from detectron2.config import LazyCall as L

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.segvit.bases import ConvBases

from ..common.backbones.pyramid import swin_t as pyramid
from ..common.pixels import IMAGENET
from .segvit_vit_b_ade20k_512_160k import dataloader, dataset, decoder, lr_multiplier, model, optimizer, train

decoder.update(width=256, num_heads=8)
model.backbone = L(TimmPyramid)(
    model_name="${pyramid.model_name}", out_norm=True, drop_path_rate=0.3, in_chans="${count:${model.pixel_mean}}"
)
model.sem_seg_head.update(
    bases=L(ConvBases)(channels="${pyramid.channels}", width="${decoder.width}"), size_feature="res2", stride=4
)
model.update(IMAGENET)
