"""SGR's frameworks on a dilated ResNet-101, for experiments to change, and SGR and GloRe to be put into them."""

from detectron2.config import LazyCall as L

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.data.components import ConnectedComponents
from tokenseg.evaluation.combined import combined_evaluators
from tokenseg.evaluation.token_metrics import ClassMasks, TokenMetrics
from tokenseg.hosts.auxiliary import AuxiliaryHead
from tokenseg.hosts.deeplab_v3 import deeplab_v3_layers
from tokenseg.hosts.fcn import FCNHead
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.inference.policy import WholeImage
from tokenseg.meta_arch import SGR
from tokenseg.segmentor import Segmentor
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.sgr.reasoning import SemanticReasoning
from tokenseg.sgr.region_loss import RegionLoss

from ..common.backbones.pyramid import resnet101 as pyramid
from ..common.pixels import IMAGENET

# Parts by name; OmegaConf takes no type of mapping as a target.
_named = L("builtins.dict")


def _fcn(in_feature, channels, **changes):
    return L(FCNHead)(
        in_features=[in_feature],
        channels=[channels],
        num_classes="${dataset.num_classes}",
        ignore_value="${dataset.ignore_label}",
        **changes,
    )


def _model(head):
    return L(Segmentor)(
        backbone=L(TimmPyramid)(
            model_name="${pyramid.model_name}", out_features=["res4", "res5"], output_stride=8, norm="SyncBN"
        ),
        sem_seg_head=head,
        extra_losses=_named(
            auxiliary=L(AuxiliaryHead)(
                head=_fcn("res4", "${pyramid.channels[2]}", width=256, num_convs=1, concat_input=False), weight=0.4
            )
        ),
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
    """The recipe of both frameworks: everything decays, what is not pretrained learns ten times as fast."""
    optimizer.update(lr=lr, weight_decay=5e-4)
    optimizer.params.update(lr_factors={"sem_seg_head": 10.0, "extra_losses": 10.0}, decay_norms=True)
    lr_multiplier.update(power=0.9, warmup_iter=0)


def _put(component, model, dataloader, optimizer):
    """A component on res5, with its metrics beside mIoU."""
    model.update(
        _target_=SGR, backbone=L(ReasoningBackbone)(backbone=model.backbone, components=_named(res5=component))
    )
    optimizer.params.lr_factors["backbone.components"] = optimizer.params.lr_factors.get("sem_seg_head", 1.0)
    tokens = L(TokenMetrics)(masks=L(ClassMasks)(ignore_label="${dataset.ignore_label}"))
    dataloader.evaluator = L(combined_evaluators)(sem_seg=dataloader.evaluator, tokens=tokens)


def add_glore(model, dataloader, optimizer):
    """GloRe into a model that has none."""
    _put(L(GloRe)(channels="${pyramid.channels[3]}"), model, dataloader, optimizer)


def add_sgr(model, dataloader, optimizer):
    """SGR, its supervision and its metrics into a model that has none. Returns what several parts of it share."""
    component = L(SemanticReasoning)(channels="${pyramid.channels[3]}", num_concepts="${sgr.num_concepts}")
    _put(component, model, dataloader, optimizer)
    dataloader.train.mapper.label_targets = _named(
        components=L(ConnectedComponents)(
            num_active="${sgr.num_active}", stride="${sgr.stride}", ignore_label="${dataset.ignore_label}"
        )
    )
    if "extra_losses" not in model:
        model.extra_losses = _named()
    model.extra_losses.regions = L(RegionLoss)(
        regions="res5_regions", num_active="${sgr.num_active}", stride="${sgr.stride}"
    )
    return dict(num_concepts=512, num_active=64, stride=8)
