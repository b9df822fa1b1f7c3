"""The common parts of the trivial baselines on ShapeScenes, which see whole images, all resized to the same size."""

from detectron2.config import LazyCall as L
from detectron2.data.transforms import Resize

from tokenseg.backbones.trivial import RawPixels
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor

from ..common.data.shapes import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.pixels import IMAGENET
from ..common.train import train

model = L(Segmentor)(
    class_weights="${dataset.class_weights}",
    backbone=L(RawPixels)(),
    sem_seg_head=L(PerPixelHead)(in_feature="pixels", layers=None, ignore_value="${dataset.ignore_label}"),
    **IMAGENET,
)
dataloader.train.mapper.augmentations = [L(Resize)(shape=["${dataset.crop}", "${dataset.crop}"])]

train.update(max_iter=4800, eval_period=1200)
optimizer.update(lr=3e-3)
lr_multiplier.warmup_iter = 0
dataloader.train.total_batch_size = 8
