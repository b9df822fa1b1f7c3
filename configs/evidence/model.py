"""The common parts of all rows in configs/tables/evidence.yaml: the data, three small backbones, and the recipes.

Each backbone is pretrained once for each level of ShapeScenes, by tasks that favour no head: a linear classifier of
every pixel, and the prediction of the classes in an image and the number of pieces of each.
configs/tables/evidence_pretraining.yaml does this and writes the backbones to files, from which every row starts.
`dataset.level` selects the level.
"""

from detectron2.config import LazyCall as L
from torch.nn import Conv2d

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.data.class_counts import ClassCounts
from tokenseg.hosts.auxiliary import AuxiliaryHead
from tokenseg.hosts.image_classes import ImageClassesLoss
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.inference.policy import WholeImage
from tokenseg.segmentor import Segmentor

from ..common.data.shapes import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.pixels import IMAGENET
from ..common.train import train

dataset.level = "place"
dataloader.train.total_batch_size = 8
train.update(max_iter=400, eval_period=0, log_period=20, clip_grad_norm=1.0)
train.amp.enabled = True
train.checkpointer.update(period=200, max_to_keep=1)
optimizer.update(lr=2e-4, weight_decay=0.05)
# Parts that are not pretrained have ten times the learning rate.
optimizer.params.lr_factors = {"sem_seg_head": 10.0}
lr_multiplier.warmup_iter = 40


def plain_vit():
    """Return the facts about the ViT, and the config of the backbone, with fixed position codes and no class token."""
    vit = dict(model_name="vit_tiny_patch16_224", channels=128, patch_size=8, last_block=5)
    backbone = L(PlainViT)(
        model_name="${vit.model_name}",
        img_size="${dataset.crop}",
        out_blocks=["${vit.last_block}"],
        pretrained=False,
        position_codes="sine",
        timm_args=dict(
            patch_size="${vit.patch_size}", embed_dim="${vit.channels}", depth=6, num_heads=4, class_token=False
        ),
    )
    return vit, backbone


def swin():
    """Return the facts about the Swin, and the config of the backbone."""
    pyramid = dict(model_name="swin_tiny_patch4_window7_224", channels=[48, 96, 192, 384])
    backbone = L(TimmPyramid)(
        model_name="${pyramid.model_name}",
        pretrained=False,
        out_norm=True,
        timm_args=dict(embed_dim=48, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16], window_size=6),
    )
    return pyramid, backbone


def dilated_resnet():
    """Return the facts about the ResNet, and the config of the backbone.

    It has only one block per stage, so that its receptive field does not cover the whole image.
    """
    pyramid = dict(model_name="resnet18", channels=[16, 32, 64, 128])
    backbone = L(TimmPyramid)(
        model_name="${pyramid.model_name}",
        out_features=["res4", "res5"],
        output_stride=8,
        pretrained=False,
        timm_args=dict(layers=[1, 1, 1, 1], channels="${pyramid.channels}"),
    )
    return pyramid, backbone


def start_from_pretrained(model, kind):
    """Make a row's model start from the pretrained backbone of its kind, `vit`, `swin` or `resnet`, and its level."""
    model.update(inference=L(WholeImage)(), **IMAGENET)
    train.init_backbone.file = f"./output/evidence/pretrain_{kind}_${{dataset.level}}/seed_0/backbone.safetensors"


def pretraining(backbone, channels):
    """Configure the model that pretrains a backbone, and the targets that it needs from the loader.

    Args:
        backbone: The config of the backbone.
        channels: The number of channels of every map, by name. The last map is used for the prediction about the whole
            image.
    """
    first, *_, last = [*channels, *channels]
    losses = {
        name: L(AuxiliaryHead)(head=_linear(name, number), weight=1.0, prefix=f"{name}_")
        for name, number in channels.items()
        if name != first
    }
    losses["image_classes"] = L(ImageClassesLoss)(
        in_feature=last, channels=channels[last], num_classes="${dataset.num_classes}"
    )
    dataloader.train.mapper.label_targets = L("builtins.dict")(
        class_counts=L(ClassCounts)(num_classes="${dataset.num_classes}")
    )
    train.max_iter = 1200
    optimizer.lr = 1e-3
    optimizer.params.lr_factors = {}
    lr_multiplier.warmup_iter = 100
    return L(Segmentor)(
        backbone=backbone,
        sem_seg_head=_linear(first, channels[first]),
        extra_losses=L("builtins.dict")(**losses),
        inference=L(WholeImage)(),
        **IMAGENET,
    )


def _linear(feature, channels):
    layers = L(Conv2d)(in_channels=channels, out_channels="${dataset.num_classes}", kernel_size=1)
    return L(PerPixelHead)(in_feature=feature, layers=layers, ignore_value="${dataset.ignore_label}")
