"""Small backbones of every kind, and models around them."""

import torch
from detectron2.modeling import FPN, GeneralizedRCNN
from torch import nn

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.sgr.reasoning import SemanticReasoning

PIXELS = dict(pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375])


RESNET = dict(stem_type="deep", stem_width=4, layers=[1, 1, 1, 3], channels=[4, 8, 16, 32])


SWIN = dict(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4)


VIT = dict(embed_dim=24, depth=2, num_heads=2)


SWIN_T, VIT_T = "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"


def resnet(name="resnet50", **args):
    return TimmPyramid(**(dict(model_name=name, pretrained=False, timm_args=RESNET, output_stride=16) | args))


def swin(**args):
    return TimmPyramid(**(dict(model_name=SWIN_T, pretrained=False, timm_args=SWIN) | args))


def vit(**args):
    timm_args = VIT | args.pop("timm_args", {})
    defaults = dict(model_name=VIT_T, img_size=64, out_blocks=[1], pretrained=False)
    return PlainViT(**(defaults | args), timm_args=timm_args)


def sgr(**args):
    return SemanticReasoning(**(dict(channels=128, num_concepts=4, width=8, num_heads=2) | args))


def with_component(backbone, component=None):
    return ReasoningBackbone(backbone=backbone, components={"res5": component or sgr()})


def trained(model):
    """Give a model weights that differ from initial ones."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else 0.1 * torch.randn_like(value))
    return model.eval()


def segmentor(backbone, **args):
    feature = list(backbone.output_shape())[-1]
    layers = nn.Conv2d(backbone.output_shape()[feature].channels, 2, 1)
    head = PerPixelHead(in_feature=feature, layers=layers)
    return trained(Segmentor(backbone=backbone, sem_seg_head=head, **(PIXELS | args)))


def detector(backbone, **args):
    parts = dict(proposal_generator=nn.Identity(), roi_heads=nn.Identity())
    return GeneralizedRCNN(backbone=backbone, **parts, **(PIXELS | args)).eval()


def resnet_with_sgr():
    return with_component(resnet())


def fpn(bottom_up):
    return FPN(bottom_up=bottom_up, in_features=["res2", "res3", "res4", "res5"], out_channels=8)
