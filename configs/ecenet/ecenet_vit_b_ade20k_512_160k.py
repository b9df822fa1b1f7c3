from detectron2.config import LazyCall as L

from tokenseg.backbones.plain_vit import PlainViT

from ..common.backbones.vit import vit_b as vit
from ..common.data.ade20k import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.pixels import HALF
from ..common.schedules import train_for_160k
from ..common.train import train
from .model import model

train_for_160k(train)
optimizer.update(lr=6e-5)
# The maps of four blocks, resampled to the strides of a hierarchical model's stages.
taps = [2, 5, 8, 11]
model.backbone = L(PlainViT)(
    in_chans="${count:${model.pixel_mean}}",
    model_name="${vit.model_name}",
    img_size="${dataset.crop}",
    out_blocks=taps,
    out_strides=[4, 8, 16, 32],
    drop_path_rate=0.1,
)
model.sem_seg_head.update(in_features=[f"block{tap}" for tap in taps], channels=["${vit.channels}"] * len(taps))
model.update(HALF)
model.inference.stride = 341
