"""Mask R-CNN with a simple feature pyramid on a plain ViT-B, into which SegViT's backbone for 512 pixels can be loaded.

To load a backbone of StructToken, which has a class token, set model.backbone.net.timm_args.class_token=true. For that
of StructToken-CSE, which was trained with another pixel normalisation, also set
model.pixel_mean=[123.675,116.28,103.53] model.pixel_std=[58.395,57.12,57.375].
"""

from ..common.backbones.vit import vit_b as vit
from ..common.data.coco_instances import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import step as lr_multiplier
from ..common.schedules import train_for_270k
from ..common.train import train
from .model import simple_pyramid as model
from .model import train_vit

train_for_270k(train)
train_vit(optimizer, lr_multiplier, train)
