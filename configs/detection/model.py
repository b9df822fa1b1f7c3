"""Mask R-CNN from Detectron2's parts over our backbones, for experiments to change, and its recipes.

| name | what the heads read | backbone |
|---|---|---|
| `dc5` | res5, at stride 16 by dilation | ResNet |
| `c4` | res4; res5 runs on each region | ResNet |
| `c4_msra` | the same | Detectron2's own ResNet, in BGR |
| `fpn` | Detectron2's FPN, p2 to p6 | ResNet |
| `fpn_swin` | the same | Swin |
| `simple_pyramid` | ViTDet's simple feature pyramid, p2 to p6 | plain ViT, windows in 8 of 12 blocks |

Dilation: Detectron2's own DC5 gives all three blocks of res5 the dilation 2. timm, and with it every dilated
segmentation model of this project, leaves the first block at 1. Pretraining and detection must see the same maps, so
DC5 here is timm's, too; `model.backbone.multi_grid=[1,1,1]` (with SGR or GloRe `model.backbone.backbone.multi_grid`)
makes it Detectron2's, for weights that were pretrained that way or without dilation.

Freezing: batch norms of ResNets keep statistics, weights and biases of the pretraining (`norm="FrozenBN"`), and stem
and res2 get no gradient (`freeze_at=2`), as in Detectron2's Mask R-CNN. For random weights give pretrained=false,
norm=BN and freeze_at=0.
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    Res5ROIHeads,
    StandardROIHeads,
)

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.backbones.region_stage import RegionStage
from tokenseg.backbones.simple_pyramid import SimplePyramid

from ..common.backbones.pyramid import resnet101 as pyramid
from ..common.backbones.resnet_d2 import region_stage
from ..common.backbones.resnet_d2 import resnet101 as resnet_d2
from ..common.pixels import HALF, IMAGENET, MSRA

# Sides of the anchors, in pixels, and their ratios of height to width.
_SIZES = [32, 64, 128, 256, 512]
_RATIOS = [0.5, 1.0, 2.0]
# The maps that heads read, and their strides.
_DC5, _C4 = {"res5": 16}, {"res4": 16}
_LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
_COARSEST = {"p6": 64}


def _proposals(maps, channels, *, sizes, pre_nms_topk, post_nms_topk):
    """The region proposal network; `sizes` has the sides of the anchors on each map, the last two pairs are of numbers
    in training and in tests."""
    return L(RPN)(
        in_features=list(maps),
        head=L(StandardRPNHead)(in_channels=channels, num_anchors=len(sizes[0]) * len(_RATIOS)),
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=sizes, aspect_ratios=_RATIOS, strides=list(maps.values()), offset=0.0
        ),
        anchor_matcher=L(Matcher)(thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=pre_nms_topk,
        post_nms_topk=post_nms_topk,
        nms_thresh=0.7,
    )


def _proposals_of_one_map(maps, channels):
    return _proposals(maps, channels, sizes=[_SIZES], pre_nms_topk=[12000, 6000], post_nms_topk=[2000, 1000])


def _pooler(maps, size):
    """Regions as squares of `size` cells."""
    scales = [1 / stride for stride in maps.values()]
    return L(ROIPooler)(output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")


def _regions(kind, **parts):
    """Heads of any kind: of 512 regions of an image at most a quarter show an object."""
    return L(kind)(
        num_classes="${dataset.num_classes}",
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_matcher=L(Matcher)(thresholds=[0.5], labels=[0, 1], allow_low_quality_matches=False),
        **parts,
    )


def _box_predictor(channels):
    return L(FastRCNNOutputLayers)(
        input_shape=L(ShapeSpec)(channels=channels, height=1, width=1),
        test_score_thresh=0.05,
        box2box_transform=L(Box2BoxTransform)(weights=[10.0, 10.0, 5.0, 5.0]),
        num_classes="${dataset.num_classes}",
    )


def _square(channels, pooler):
    """The shape of what a pooler gives."""
    size = f"${{model.roi_heads.{pooler}.output_size}}"
    return L(ShapeSpec)(channels=channels, height=size, width=size)


def _mask_head(input_shape, *, num_convs):
    """Convolutions, and a deconvolution, whose width is the last of `conv_dims`."""
    return L(MaskRCNNConvUpsampleHead)(
        input_shape=input_shape, num_classes="${dataset.num_classes}", conv_dims=[256] * (num_convs + 1)
    )


def _heads(maps, channels):
    """Two fully connected layers for the boxes, four convolutions and a deconvolution for the masks."""
    return _regions(
        StandardROIHeads,
        box_in_features=list(maps),
        box_pooler=_pooler(maps, 7),
        box_head=L(FastRCNNConvFCHead)(input_shape=_square(channels, "box_pooler"), conv_dims=[], fc_dims=[1024, 1024]),
        box_predictor=_box_predictor("${model.roi_heads.box_head.fc_dims[1]}"),
        mask_in_features=list(maps),
        mask_pooler=_pooler(maps, 14),
        mask_head=_mask_head(_square(channels, "mask_pooler"), num_convs=4),
    )


def _detector(backbone, proposal_generator, roi_heads, pixels=IMAGENET):
    return L(GeneralizedRCNN)(
        backbone=backbone,
        proposal_generator=proposal_generator,
        roi_heads=roi_heads,
        **pixels,
        input_format="${dataset.image_format}",
    )


def _resnet(*out_features, **changes):
    return L(TimmPyramid)(
        model_name="${pyramid.model_name}", out_features=list(out_features), norm="FrozenBN", freeze_at=2, **changes
    )


dc5 = _detector(
    _resnet("res5", output_stride=_DC5["res5"]),
    _proposals_of_one_map(_DC5, "${pyramid.channels[3]}"),
    _heads(_DC5, "${pyramid.channels[3]}"),
)


def _c4(backbone, stage, channels, stage_channels, **pixels):
    """`stage` is res5, `stage_channels` the number of channels that it gives."""
    heads = _regions(
        Res5ROIHeads,
        in_features=list(_C4),
        pooler=_pooler(_C4, 14),
        res5=stage,
        box_predictor=_box_predictor(stage_channels),
        mask_head=_mask_head(_square(stage_channels, "pooler"), num_convs=0),
    )
    return _detector(backbone, _proposals_of_one_map(_C4, channels), heads, **pixels)


c4 = _c4(
    _resnet("res4", pretrained=True, weights_file="", timm_args=None),
    L(RegionStage)(
        **{
            name: f"${{model.backbone.{name}}}"
            for name in ("model_name", "norm", "pretrained", "weights_file", "timm_args")
        }
    ),
    "${pyramid.channels[2]}",
    "${pyramid.channels[3]}",
)

resnet_d2.update(out_features=list(_C4), freeze_at=2)
c4_msra = _c4(
    resnet_d2,
    region_stage,
    "${model.roi_heads.res5.in_channels}",
    "${model.roi_heads.res5.out_channels}",
    pixels=MSRA,
)


def _with_levels(backbone, pixels=IMAGENET):
    """Over a backbone that gives p2 to p6; the heads read all but the last."""
    channels = "${model.backbone.out_channels}"
    proposals = _proposals(
        _LEVELS | _COARSEST,
        channels,
        sizes=[[size] for size in _SIZES],
        pre_nms_topk=[2000, 1000],
        post_nms_topk=[1000, 1000],
    )
    return _detector(backbone, proposals, _heads(_LEVELS, channels), pixels)


def _fpn(bottom_up):
    return _with_levels(
        L(FPN)(
            bottom_up=bottom_up,
            in_features="${model.backbone.bottom_up.out_features}",
            out_channels=256,
            top_block=L(LastLevelMaxPool)(),
        )
    )


_STAGES = ("res2", "res3", "res4", "res5")
fpn = _fpn(_resnet(*_STAGES))
fpn_swin = _fpn(
    L(TimmPyramid)(model_name="${pyramid.model_name}", out_features=list(_STAGES), out_norm=True, drop_path_rate=0.2)
)

# A class token has no use here, and SegViT's backbones have none; position codes are those of its crops of 512 pixels,
# resampled for larger images.
simple_pyramid = _with_levels(
    L(SimplePyramid)(
        net=L(PlainViT)(
            model_name="${vit.model_name}",
            img_size=512,
            out_blocks=["${vit.last_block}"],
            drop_path_rate=0.1,
            window_size=14,
            global_blocks=[2, 5, 8, 11],
            timm_args=dict(class_token=False),
        ),
        in_feature="block${vit.last_block}",
        out_channels=256,
    ),
    HALF,
)


def _train(optimizer, lr_multiplier, train, *, lr, weight_decay):
    """The schedule of the paper's transfer: batch 8, 270k iterations, a tenth of the rate from 210k and 250k on."""
    optimizer.update(lr=lr, weight_decay=weight_decay)
    lr_multiplier.milestones = [210_000, 250_000]
    train.best_metric = "segm/AP"


def train_by_sgd(optimizer, lr_multiplier, train):
    """The paper tells no rate; 0.01 is Detectron2's 0.02 for batches of 16, in proportion."""
    _train(optimizer, lr_multiplier, train, lr=0.01, weight_decay=1e-4)


def train_swin(optimizer, lr_multiplier, train):
    """AdamW, at what is customary for Swin: 1e-4 for batches of 16, here by the root of the batch size."""
    _train(optimizer, lr_multiplier, train, lr=7e-5, weight_decay=0.05)


def train_vit(optimizer, lr_multiplier, train):
    """AdamW, at what ViTDet has for ViT-B: 1e-4 for batches of 64, here by the root of the batch size, and 0.7 of the
    rate from each block to the one before it."""
    _train(optimizer, lr_multiplier, train, lr=3.5e-5, weight_decay=0.1)
    optimizer.params.layer_decay = 0.7
