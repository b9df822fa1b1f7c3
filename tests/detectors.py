"""The detectors of configs/detection made small, and images with instances for them."""

from pathlib import Path

import torch
from detectron2.structures import BitMasks, Boxes, Instances

from tokenseg.config.load import load_config

FOLDER = Path(__file__).resolve().parents[1] / "configs/detection"
NUM_CLASSES = 3
HEADS = [
    f"dataset.num_classes={NUM_CLASSES}",
    "model.proposal_generator.pre_nms_topk=[60,30]",
    "model.proposal_generator.post_nms_topk=[30,10]",
    "model.proposal_generator.batch_size_per_image=32",
    "model.roi_heads.batch_size_per_image=16",
    "model.roi_heads.mask_head.conv_dims=[16,16]",
]
FULLY_CONNECTED = "model.roi_heads.box_head.fc_dims=[32,32]"
ONE_MAP = "model.proposal_generator.anchor_generator.sizes=[[8,16,24,32,48]]"
LEVELS = ["model.proposal_generator.anchor_generator.sizes=[[8],[16],[24],[32],[48]]", "model.backbone.out_channels=16"]


def resnet(place):
    return [
        "pyramid={model_name: resnet18, channels: [8, 16, 32, 64]}",
        f"{place}.timm_args={{channels: [8, 16, 32, 64]}}",
    ]


def swin(place):
    return [
        "pyramid={model_name: swin_tiny_patch4_window7_224, channels: [8, 16, 32, 64]}",
        f"{place}.timm_args={{embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8], window_size: 4}}",
        f"{place}.drop_path_rate=0.0",
    ]


def sgr(place):
    return ["sgr.num_concepts=12", f"{place}.components.res5.width=32"]


VIT = [
    "vit={model_name: vit_tiny_patch16_224, channels: 48, last_block: 1}",
    "model.backbone.net.timm_args={embed_dim: 48, depth: 2, num_heads: 3}",
    *(f"model.backbone.net.{part}" for part in ("img_size=64", "window_size=2", "global_blocks=[1]")),
    "model.backbone.net.drop_path_rate=0.0",
]
BELOW = "model.backbone.bottom_up"
# The part of a config's name between mask_rcnn_ and _coco_800_270k -> the overrides that make its model small.
DETECTORS = {
    "dc5_resnet_101": [*resnet("model.backbone"), FULLY_CONNECTED, ONE_MAP],
    "dc5_glore_resnet_101": [*resnet("model.backbone.backbone"), FULLY_CONNECTED, ONE_MAP],
    "dc5_sgr_resnet_101": [*resnet("model.backbone.backbone"), *sgr("model.backbone"), FULLY_CONNECTED, ONE_MAP],
    "c4_resnet_101": [*resnet("model.backbone"), ONE_MAP],
    "fpn_resnet_101": [*resnet(BELOW), FULLY_CONNECTED, *LEVELS],
    "fpn_sgr_resnet_101": [*resnet(f"{BELOW}.backbone"), *sgr(BELOW), FULLY_CONNECTED, *LEVELS],
    "fpn_swin_t": [*swin(BELOW), FULLY_CONNECTED, *LEVELS],
    "fpn_sgr_swin_t": [*swin(f"{BELOW}.backbone"), *sgr(BELOW), FULLY_CONNECTED, *LEVELS],
    "sfp_vit_b": [*VIT, FULLY_CONNECTED, *LEVELS],
}


def narrow_config(name, *overrides):
    return load_config(str(FOLDER / f"mask_rcnn_{name}_coco_800_270k.py"), [*HEADS, *DETECTORS[name], *overrides])


def sample(boxes, size=(64, 64)):
    """An image of noise in which the boxes (x0, y0, x1, y1) are objects of the classes 0, 1, 2, ..."""
    instances, masks = Instances(size), torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes, instances.gt_masks = torch.arange(len(boxes)), BitMasks(masks)
    image = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(len(boxes))).to(torch.uint8)
    return dict(image=image, instances=instances, height=size[0], width=size[1])
