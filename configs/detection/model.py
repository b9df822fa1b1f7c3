"""Mask R-CNN, built from Detectron2's parts on our backbones, and its recipes; experiments import and modify them.

| name | maps that the heads read | backbone |
|---|---|---|
| `dc5` | res5, at stride 16 by dilation | ResNet |
| `c4` | res4; res5 runs on each region | ResNet |
| `c4_msra` | the same | Detectron2's own ResNet, in BGR |
| `fpn` | Detectron2's FPN, p2 to p6 | ResNet |
| `fpn_swin` | the same | Swin |
| `simple_pyramid` | ViTDet's simple feature pyramid, p2 to p6 | plain ViT, windows in 8 of 12 blocks |

Dilation: in Detectron2's own DC5, all three blocks of res5 have the dilation 2. In timm, and therefore in every dilated
segmentation model of this project, the first block has the dilation 1. Pretraining and detection must use the same
maps, so DC5 here is that of timm. `model.backbone.multi_grid=[1,1,1]` (with SGR or GloRe
`model.backbone.backbone.multi_grid=[1,1,1]`) makes it that of Detectron2, for weights that were pretrained with it or
without dilation.

Freezing: as in Detectron2's Mask R-CNN, the batch norms of ResNets keep the statistics, weights and biases of the
pretraining (`norm="FrozenBN"`), and the stem and res2 are not trained (`freeze_at=2`). To train from random weights,
set pretrained=false, norm=BN and freeze_at=0 for the backbone.
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

# The side lengths of the anchors in pixels, and their ratios of height to width.
_SIZES = [32, 64, 128, 256, 512]
_RATIOS = [0.5, 1.0, 2.0]
# The maps that the heads read, and their strides.
_DC5, _C4 = {"res5": 16}, {"res4": 16}
_LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
_COARSEST = {"p6": 64}


def _proposals(maps, channels, *, sizes, pre_nms_topk, post_nms_topk):
    """Configure the region proposal network.

    Args:
        maps: The stride of each map, by name.
        channels: The number of channels of each map.
        sizes: For each map, the side lengths in pixels of its anchors.
        pre_nms_topk: The number of proposals before non-maximum suppression, in training and in tests.
        post_nms_topk: The number of proposals after non-maximum suppression, in training and in tests.
    """
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
    """Configure the pooler that resamples every region to `size` x `size` cells."""
    scales = [1 / stride for stride in maps.values()]
    return L(ROIPooler)(output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")


def _regions(kind, **parts):
    """Configure region heads of any class; at most a quarter of the 512 training regions of an image show an object."""
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
    """Return the shape of a pooler's output, as a reference to the config of the pooler."""
    size = f"${{model.roi_heads.{pooler}.output_size}}"
    return L(ShapeSpec)(channels=channels, height=size, width=size)


def _mask_head(input_shape, *, num_convs):
    """Configure a mask head of convolutions and one deconvolution, whose width is the last entry of `conv_dims`."""
    return L(MaskRCNNConvUpsampleHead)(
        input_shape=input_shape, num_classes="${dataset.num_classes}", conv_dims=[256] * (num_convs + 1)
    )


def _heads(maps, channels):
    """Configure a box head of two fully connected layers, and a mask head of four convolutions and a deconvolution."""
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
    """Configure a detector of type C4.

    Args:
        backbone: The backbone, which ends with res4.
        stage: The stage res5, which runs on every region.
        channels: The number of channels of res4.
        stage_channels: The number of channels of res5.
        pixels: The mean and standard deviation of the pixels, if they are not those of ImageNet.
    """
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
    """Configure a detector on a backbone with the maps p2 to p6; the heads read all but p6."""
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

# There is no class token, which has no use here and which SegViT's backbones do not have either. The position codes are
# those of SegViT's crops of 512 pixels, and are resampled for larger images.
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
    """Set the schedule of SGR's paper for detection.

    Training lasts 270k iterations with batches of 8, and the learning rate drops by ten after 210k and 250k iterations.
    """
    optimizer.update(lr=lr, weight_decay=weight_decay)
    lr_multiplier.milestones = [210_000, 250_000]
    train.best_metric = "segm/AP"


def train_by_sgd(optimizer, lr_multiplier, train):
    """Train with SGD at rate 0.01. The paper states no rate; this is Detectron2's 0.02 for batches of 16, scaled."""
    _train(optimizer, lr_multiplier, train, lr=0.01, weight_decay=1e-4)


def train_swin(optimizer, lr_multiplier, train):
    """Train Swin with AdamW at its usual rate, 1e-4 for batches of 16, scaled by the root of the batch size."""
    _train(optimizer, lr_multiplier, train, lr=7e-5, weight_decay=0.05)


def train_vit(optimizer, lr_multiplier, train):
    """Train ViT-B with AdamW at the rate of ViTDet, 1e-4 for batches of 64, scaled by the root of the batch size.

    From each block to the one before it, the rate is multiplied by 0.7, also as in ViTDet.
    """
    _train(optimizer, lr_multiplier, train, lr=3.5e-5, weight_decay=0.1)
    optimizer.params.layer_decay = 0.7
