"""UperNet, MaskFormer and Mask2Former with their recipes; experiments modify them, and `common/sgr.py` adds SGR.

The recipes are those of SGR's paper or, where it states nothing, of the models' authors. The settings of the authors
that differ from SGR's paper are:

| | Mask2Former | MaskFormer on a ResNet | UperNet on Swin |
|---|---|---|---|
| learning rate | the same (1e-4, the backbone's a tenth) | the same | 6e-5 for all parts |
| Cityscapes: batch, crop, iterations | 16, 512 x 1024, 90k | 16, 512 x 1024, 90k | - |
| COCO-Stuff-10K: batch, crop | - | 32, 640 | - |
| mixed precision | float16 | - | - |

In addition, the authors of the mask classifiers do not limit the share of one class in a crop, and test MaskFormer on
COCO-Stuff-10K with a short side of 640. So the settings of these configs are not those behind the authors' results that
SGR's paper quotes. For Mask2Former with Swin-T on COCO-Stuff-10K, the authors published neither a recipe nor weights.
"""

from detectron2.config import LazyCall as L

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.hosts.mask2former import Mask2FormerHead
from tokenseg.hosts.mask_former import MaskFormerHead
from tokenseg.hosts.uper_net import UperNetHead
from tokenseg.inference.policy import WholeImage
from tokenseg.inspection import RegionSegmentor
from tokenseg.losses.hungarian import HungarianAssigner
from tokenseg.losses.mask import MaskLoss
from tokenseg.losses.point_mask import PointMaskLoss
from tokenseg.segmentor import Segmentor

from ..common.pixels import IMAGENET
from .model import auxiliary_fcn


def swin():
    """Configure a Swin with a norm on each map, as these heads expect; windows are padded as in the authors' code."""
    return L(TimmPyramid)(
        model_name="${pyramid.model_name}", out_norm=True, drop_path_rate=0.3, in_chans="${count:${model.pixel_mean}}"
    )


def resnet(norm):
    """Configure a ResNet with the given kind of batch norm."""
    return L(TimmPyramid)(model_name="${pyramid.model_name}", norm=norm, in_chans="${count:${model.pixel_mean}}")


def _head(kind, **changes):
    return L(kind)(channels="${pyramid.channels}", num_classes="${dataset.num_classes}", **changes)


def _criterion(kind, **changes):
    return L(kind)(num_classes="${dataset.num_classes}", ignore_value="${dataset.ignore_label}", **changes)


uper_net = L(Segmentor)(
    class_weights="${dataset.class_weights}",
    backbone=swin(),
    sem_seg_head=_head(UperNetHead, ignore_value="${dataset.ignore_label}"),
    extra_losses=auxiliary_fcn(),
    inference=L(WholeImage)(),
    **IMAGENET,
)

mask_former = L(RegionSegmentor)(
    class_weights="${dataset.class_weights}",
    backbone=resnet("FrozenBN"),
    sem_seg_head=_head(
        MaskFormerHead,
        num_queries=100,
        criterion=_criterion(
            MaskLoss,
            num_tokens="${model.sem_seg_head.num_queries}",
            weights={"focal": 20.0, "dice": 1.0, "class": 1.0},
            assign=L(HungarianAssigner)(weights="${model.sem_seg_head.criterion.weights}"),
        ),
    ),
    inference=L(WholeImage)(),
    **IMAGENET,
)

mask2former = L(RegionSegmentor)(
    class_weights="${dataset.class_weights}",
    backbone=swin(),
    sem_seg_head=_head(
        Mask2FormerHead,
        num_queries=100,
        criterion=_criterion(
            PointMaskLoss,
            num_queries="${model.sem_seg_head.num_queries}",
            weights={"cross_entropy": 5.0, "dice": 5.0, "class": 2.0},
            # Given by name, since OmegaConf would treat the dataclass itself as a mapping.
            sampling=L("tokenseg.losses.points.PointSampling")(),
        ),
    ),
    inference=L(WholeImage)(),
    **IMAGENET,
)


def _train_by_adamw(optimizer, *, weight_decay, lr_factors):
    """Train with AdamW and higher rates for the parts that are not pretrained; norms and embeddings have no decay."""
    optimizer.update(lr=1e-5, weight_decay=weight_decay)
    optimizer.params.lr_factors = lr_factors


def train_uper_net(optimizer):
    """Set the recipe of UperNet with Swin; 1500 iterations of warm-up and a power of 1 are the schedule's defaults."""
    _train_by_adamw(optimizer, weight_decay=0.01, lr_factors={"sem_seg_head": 10.0, "extra_losses": 10.0})


def _train_mask_classifier(optimizer, lr_multiplier, train, *, weight_decay):
    _train_by_adamw(optimizer, weight_decay=weight_decay, lr_factors={"sem_seg_head": 10.0})
    lr_multiplier.update(power=0.9, warmup_iter=0)
    train.clip_grad_norm = 0.01


def train_mask_former(optimizer, lr_multiplier, train):
    """Set the recipe of MaskFormer with a ResNet."""
    _train_mask_classifier(optimizer, lr_multiplier, train, weight_decay=1e-4)


def train_mask2former(optimizer, lr_multiplier, train):
    """Set the recipe of Mask2Former."""
    _train_mask_classifier(optimizer, lr_multiplier, train, weight_decay=0.05)
