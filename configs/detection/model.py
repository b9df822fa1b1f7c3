"""Mask R-CNN from Detectron2's parts over our backbones, for experiments to change.

What is written once per model, such as the stride of a map, is an argument of the functions below; classes and channel
order come from `dataset`, channels from `pyramid`.

Dilation: Detectron2's own DC5 gives all three blocks of res5 the dilation 2. timm, and with it every dilated
segmentation model of this project, leaves the first block at 1. Pretraining and detection must see the same maps, so
DC5 here is timm's, too; `model.backbone.multi_grid=[1,1,1]` (with SGR or GloRe `model.backbone.backbone.multi_grid`)
makes it Detectron2's, for weights that were pretrained without dilation.

Freezing: all batch norms keep statistics, weights and biases of the pretraining (`norm="FrozenBN"`), and stem and res2
get no gradient (`freeze_at=2`), as in Detectron2's Mask R-CNN. From random weights give norm=BN and freeze_at=0.
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)

from tokenseg.backbones.pyramid import TimmPyramid

from ..common.backbones.pyramid import resnet101 as pyramid
from ..common.pixels import IMAGENET

# Sides of the anchors, in pixels.
_SIZES = [32, 64, 128, 256, 512]
_RATIOS = [0.5, 1.0, 2.0]
# Sides of what the box head and the mask head see of a region, in cells, and the width of their layers.
_BOX_SIZE, _MASK_SIZE, _BOX_WIDTH, _MASK_WIDTH = 7, 14, 1024, 256


def _proposals(maps, channels, *, sizes, pre_nms_topk, post_nms_topk):
    """The region proposal network on maps, given as name -> stride; `sizes` are those of the anchors on each map."""
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
        # in training, in tests
        pre_nms_topk=pre_nms_topk,
        post_nms_topk=post_nms_topk,
        nms_thresh=0.7,
    )


def _pooler(maps, size):
    return L(ROIPooler)(
        output_size=size,
        scales=[1 / stride for stride in maps.values()],
        sampling_ratio=0,
        pooler_type="ROIAlignV2",
    )


def _box_predictor(channels):
    return L(FastRCNNOutputLayers)(
        input_shape=L(ShapeSpec)(channels=channels, height=1, width=1),
        test_score_thresh=0.05,
        box2box_transform=L(Box2BoxTransform)(weights=[10.0, 10.0, 5.0, 5.0]),
        num_classes="${dataset.num_classes}",
    )


def _mask_head(channels, *, num_convs):
    """Convolutions, and a deconvolution, whose width is the last of `conv_dims`."""
    return L(MaskRCNNConvUpsampleHead)(
        input_shape=L(ShapeSpec)(channels=channels, height=_MASK_SIZE, width=_MASK_SIZE),
        num_classes="${dataset.num_classes}",
        conv_dims=[_MASK_WIDTH] * (num_convs + 1),
    )


# What the heads of all models share: 512 regions of an image, of which at most a quarter show an object.
_REGIONS = dict(num_classes="${dataset.num_classes}", batch_size_per_image=512, positive_fraction=0.25)


def _region_matcher():
    return L(Matcher)(thresholds=[0.5], labels=[0, 1], allow_low_quality_matches=False)


def _heads(maps, channels):
    """Two fully connected layers for the boxes, four convolutions and a deconvolution for the masks."""
    return L(StandardROIHeads)(
        **_REGIONS,
        proposal_matcher=_region_matcher(),
        box_in_features=list(maps),
        box_pooler=_pooler(maps, _BOX_SIZE),
        box_head=L(FastRCNNConvFCHead)(
            input_shape=L(ShapeSpec)(channels=channels, height=_BOX_SIZE, width=_BOX_SIZE),
            conv_dims=[],
            fc_dims=[_BOX_WIDTH, _BOX_WIDTH],
        ),
        box_predictor=_box_predictor(_BOX_WIDTH),
        mask_in_features=list(maps),
        mask_pooler=_pooler(maps, _MASK_SIZE),
        mask_head=_mask_head(channels, num_convs=4),
    )


def _detector(backbone, proposal_generator, roi_heads, **pixels):
    return L(GeneralizedRCNN)(
        backbone=backbone,
        proposal_generator=proposal_generator,
        roi_heads=roi_heads,
        **(pixels or IMAGENET),
        input_format="${dataset.image_format}",
    )


def resnet(*out_features, **changes):
    """A ResNet as the module says, frozen where Detectron2 freezes it."""
    return L(TimmPyramid)(
        model_name="${pyramid.model_name}", out_features=list(out_features), norm="FrozenBN", freeze_at=2, **changes
    )


_DC5 = {"res5": 16}
dc5 = _detector(
    resnet("res5", output_stride=_DC5["res5"]),
    _proposals(_DC5, "${pyramid.channels[3]}", sizes=[_SIZES], pre_nms_topk=[12000, 6000], post_nms_topk=[2000, 1000]),
    _heads(_DC5, "${pyramid.channels[3]}"),
)


def train_by_sgd(optimizer, lr_multiplier, train):
    """The recipe of the paper's transfer: batch 8, 270k iterations, a tenth of the rate from 210k and from 250k on.

    The paper tells no rate; 0.01 is Detectron2's 0.02 for batches of 16, in proportion.
    """
    optimizer.update(lr=0.01, weight_decay=1e-4)
    lr_multiplier.update(milestones=[210_000, 250_000], warmup_iter=1000, warmup_factor=1e-3)
    train.best_metric = "segm/AP"
