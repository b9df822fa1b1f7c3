"""Detectron2's Mask R-CNN, narrow, for tests of what takes any of Detectron2's models."""

import os

import detectron2
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec
from omegaconf import DictConfig

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone

ZOO = os.path.join(os.path.dirname(detectron2.__file__), "model_zoo/configs/common")
WIDTH = 16


def mask_rcnn(*, num_classes: int, regions: int = 0) -> DictConfig:
    """Mask R-CNN with an FPN over our backbone; with `regions`, GloRe with so many tokens stands below the FPN."""
    model = LazyConfig.load(f"{ZOO}/models/mask_rcnn_fpn.py").model
    bottom_up = L(TimmPyramid)(
        model_name="resnet10t", pretrained=False, timm_args={"channels": [8, 8, 8, 8]}, norm="FrozenBN"
    )
    if regions:
        glore = L(GloRe)(channels=8, num_nodes=regions, width=4, norm="BN")
        bottom_up = L(ReasoningBackbone)(backbone=bottom_up, components=L("builtins.dict")(res5=glore))
    model.backbone.update(bottom_up=bottom_up, in_features=["res2", "res3", "res4", "res5"], out_channels=WIDTH)
    model.proposal_generator.head.in_channels = WIDTH
    model.proposal_generator.update(pre_nms_topk=[100, 50], post_nms_topk=[50, 20], batch_size_per_image=32)
    model.proposal_generator.anchor_generator.sizes = [[8], [16], [32], [64], [128]]
    heads = model.roi_heads
    heads.update(num_classes=num_classes, batch_size_per_image=16)
    heads.box_head.update(fc_dims=[32], input_shape=L(ShapeSpec)(channels=WIDTH, height=7, width=7))
    heads.box_predictor.input_shape = L(ShapeSpec)(channels=32)
    heads.mask_head.update(conv_dims=[WIDTH, WIDTH], input_shape=L(ShapeSpec)(channels=WIDTH, height=14, width=14))
    return model
