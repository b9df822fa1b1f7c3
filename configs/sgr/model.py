"""FCN and DeepLabV3 with a dilated ResNet-101, as in SGR's paper.

Experiments modify them, and `common/sgr.py` adds SGR or GloRe.
"""

from detectron2.config import LazyCall as L

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.hosts.auxiliary import AuxiliaryHead
from tokenseg.hosts.deeplab_v3 import deeplab_v3_layers
from tokenseg.hosts.fcn import FCNHead
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.inference.policy import WholeImage
from tokenseg.segmentor import Segmentor

from ..common.backbones.pyramid import resnet101 as pyramid
from ..common.pixels import IMAGENET


def _fcn(in_feature, channels, **changes):
    return L(FCNHead)(
        in_features=[in_feature],
        channels=[channels],
        num_classes="${dataset.num_classes}",
        ignore_value="${dataset.ignore_label}",
        **changes,
    )


def auxiliary_fcn():
    """Configure the auxiliary FCN head on res4."""
    head = _fcn("res4", "${pyramid.channels[2]}", width=256, num_convs=1, concat_input=False)
    return L("builtins.dict")(auxiliary=L(AuxiliaryHead)(head=head, weight=0.4))


def _model(head):
    return L(Segmentor)(
        class_weights="${dataset.class_weights}",
        backbone=L(TimmPyramid)(
            in_chans="${count:${model.pixel_mean}}",
            model_name="${pyramid.model_name}",
            out_features=["res4", "res5"],
            output_stride=8,
            norm="SyncBN",
        ),
        sem_seg_head=head,
        extra_losses=auxiliary_fcn(),
        inference=L(WholeImage)(),
        **IMAGENET,
    )


fcn = _model(_fcn("res5", "${pyramid.channels[3]}", width=512, num_convs=2, concat_input=True))
deeplab_v3 = _model(
    L(PerPixelHead)(
        in_feature="res5",
        layers=L(deeplab_v3_layers)(channels="${pyramid.channels[3]}", num_classes="${dataset.num_classes}"),
        ignore_value="${dataset.ignore_label}",
    )
)


def train_by_sgd(optimizer, lr_multiplier, *, lr):
    """Set the recipe of both models.

    All parameters have weight decay, and those that are not pretrained have ten times the learning rate.
    """
    optimizer.update(lr=lr, weight_decay=5e-4)
    optimizer.params.update(lr_factors={"sem_seg_head": 10.0, "extra_losses": 10.0}, decay_norms=True)
    lr_multiplier.update(power=0.9, warmup_iter=0)
