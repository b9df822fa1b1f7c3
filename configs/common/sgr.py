"""SGR or GloRe into any finished model, on a map that its backbone has: one call each, on parts of a config.

    sgr = add_sgr(model, dataloader, optimizer, feature="res5")    # a config names what it returns `sgr`
    add_glore(model, dataloader, optimizer, feature="block11")

Beside mIoU there are then S_C and D_C of the component's tokens. Overrides of the backbone have one word more:
`model.backbone.backbone.NAME`. Detectors take the component alone, without supervision and metrics, below a feature
pyramid if they have one:

    sgr = add_sgr_to_detector(model, place="backbone.bottom_up")
    add_glore_to_detector(model)
"""

from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from tokenseg.data.components import ConnectedComponents
from tokenseg.evaluation.combined import combined_evaluators
from tokenseg.evaluation.token_metrics import ClassMasks, InstanceMasks, TokenMetrics
from tokenseg.meta_arch import SGR
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.sgr.reasoning import SemanticReasoning
from tokenseg.sgr.region_loss import RegionLoss

# Parts by name; OmegaConf takes no type of mapping as a target.
_named = L("builtins.dict")


def measure_tokens(dataloader):
    """S_C and D_C beside mIoU, of a model that returns the regions of its tokens."""
    if "tokens" not in dataloader.evaluator:
        tokens = L(TokenMetrics)(masks=L(ClassMasks)(ignore_label="${dataset.ignore_label}"))
        dataloader.evaluator = L(combined_evaluators)(sem_seg=dataloader.evaluator, tokens=tokens)


def measure_instances(dataset, dataloader):
    """S_I and D_I on COCO val2017 instead, of a model that was trained on COCO-Stuff-10K (for --eval-only)."""
    dataset.test = "coco_2017_val"
    dataloader.evaluator = L(TokenMetrics)(masks=L(InstanceMasks)())


def add_glore(model, dataloader, optimizer, *, feature="res5", channels=None):
    """GloRe into a model that has no component.

    `feature` is the name of the backbone's map, `channels` the number of its channels, which is found for backbones
    that refer to `pyramid` or `vit`.
    """
    add_glore_to_detector(model, feature=feature, channels=channels)
    _measure(model, dataloader, optimizer)


def add_sgr(model, dataloader, optimizer, *, feature="res5", channels=None):
    """SGR, its supervision and its metrics into a model that has no component. Returns what several parts of it share.

    `feature` and `channels` are those of `add_glore`.
    """
    shared = add_sgr_to_detector(model, feature=feature, channels=channels)
    _measure(model, dataloader, optimizer)
    dataloader.train.mapper.label_targets = _named(
        components=L(ConnectedComponents)(
            num_active="${sgr.num_active}", stride="${sgr.stride}", ignore_label="${dataset.ignore_label}"
        )
    )
    if model.get("extra_losses") is None:
        model.extra_losses = _named()
    model.extra_losses.regions = L(RegionLoss)(
        regions=f"{feature}_regions",
        num_active="${sgr.num_active}",
        stride="${sgr.stride}",
        weight="${sgr.beta}",
        dice_weight="${sgr.rho}",
        cosine_weight="${sgr.gamma}",
        reading="${sgr.reading}",
    )
    # beta, rho and gamma are the paper's letters: weights of the regions' loss, of dice, and of cosine likeness. It
    # prints no values; these are the best that were tried on ShapeScenes (projects/tokenseg/sgr/DIFFERENCES.md).
    return shared | dict(num_active=64, stride=8, beta=2.0, rho=0.05, gamma=0.25)


def add_glore_to_detector(model, *, feature="res5", channels=None, place="backbone"):
    """GloRe into a model whose backbone is at `place`; `feature` and `channels` are those of `add_glore`."""
    _put(L(GloRe)(channels=channels), feature, model, place)


def add_sgr_to_detector(model, *, feature="res5", channels=None, place="backbone"):
    """SGR alone, as `add_glore_to_detector` does it. Returns what several parts of it share."""
    component = L(SemanticReasoning)(channels=channels, num_concepts="${sgr.num_concepts}", reading="${sgr.reading}")
    _put(component, feature, model, place)
    return dict(num_concepts=512, reading="ours")


def _channels(backbone, feature):
    """Where the facts of the backbone have the number of a map's channels."""
    name, stages = OmegaConf.to_container(backbone).get("model_name"), ["res2", "res3", "res4", "res5"]
    if name == "${vit.model_name}":
        return "${vit.channels}"
    if name == "${pyramid.model_name}" and feature in stages:
        return f"${{pyramid.channels[{stages.index(feature)}]}}"
    raise ValueError(f"the channels of '{feature}' do not follow from the backbone; wanted `channels`, or another map")


def _put(component, feature, model, place):
    """A component on a map of the backbone at a place in the model."""
    backbone = OmegaConf.select(model, place)
    if "components" in backbone:
        raise ValueError("the model has a component already; wanted a model without SGR and GloRe")
    if component.channels is None:
        component.channels = _channels(backbone, feature)
    for name, part in _one_deeper(OmegaConf.to_container(model), f"${{model.{place}.").items():
        model[name] = part
    wrapped = L(ReasoningBackbone)(backbone=OmegaConf.select(model, place), components=_named(**{feature: component}))
    OmegaConf.update(model, place, wrapped, merge=False)


def _measure(model, dataloader, optimizer):
    """The metrics of a component in a segmentation model beside mIoU; it learns as fast as the head."""
    model._target_ = SGR
    optimizer.params.lr_factors["backbone.components"] = optimizer.params.lr_factors.get("sem_seg_head", 1.0)
    measure_tokens(dataloader)


def _one_deeper(part, reference):
    """A part of a config whose references to the backbone follow it into the one that gets the component."""
    if isinstance(part, dict):
        return {name: _one_deeper(value, reference) for name, value in part.items()}
    if isinstance(part, list):
        return [_one_deeper(value, reference) for value in part]
    return part.replace(reference, f"{reference}backbone.") if isinstance(part, str) else part
