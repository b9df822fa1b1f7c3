"""Functions that add SGR or GloRe to any complete model, on one of its backbone's maps, by changing its config.

    sgr = add_sgr(model, dataloader, optimizer, feature="res5")    # the result must be a key `sgr` of the config
    add_glore(model, dataloader, optimizer, feature="block11")

Evaluation then also measures S_C and D_C of the component's tokens. Since the component wraps the backbone, overrides
of the backbone get one more word: `model.backbone.backbone.NAME`. Detectors get only the component, without supervision
and metrics. If they have a feature pyramid, the component is placed below it:

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

# A dict of named parts. The name is a string, since OmegaConf does not accept the type `dict` as a target.
_named = L("builtins.dict")


def measure_tokens(dataloader):
    """Measure S_C and D_C in addition to mIoU, for a model that returns the regions of its tokens."""
    if "tokens" not in dataloader.evaluator:
        tokens = L(TokenMetrics)(masks=L(ClassMasks)(ignore_label="${dataset.ignore_label}"))
        dataloader.evaluator = L(combined_evaluators)(sem_seg=dataloader.evaluator, tokens=tokens)


def measure_instances(dataset, dataloader):
    """Measure S_I and D_I on COCO val2017 instead, for --eval-only of a model that was trained on COCO-Stuff-10K."""
    dataset.test = "coco_2017_val"
    dataloader.evaluator = L(TokenMetrics)(masks=L(InstanceMasks)())


def add_glore(model, dataloader, optimizer, *, feature="res5", channels=None):
    """Add GloRe to a model that has no component, and measure the semantics of its tokens.

    Args:
        model: The config of the model.
        dataloader: The config of the loaders and the evaluator.
        optimizer: The config of the optimiser.
        feature: The name of the backbone's map.
        channels: The number of channels of that map; by default it is looked up, which is possible for backbones that
            refer to `pyramid` or `vit`.
    """
    add_glore_to_detector(model, feature=feature, channels=channels)
    _measure(model, dataloader, optimizer)


def add_sgr(model, dataloader, optimizer, *, feature="res5", channels=None):
    """Add SGR, its supervision and its metrics to a model that has no component; see `add_glore` for the arguments.

    Returns:
        The settings that several parts of SGR share. The config must name them `sgr`, since the parts refer to them.
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
    # beta, rho and gamma are the paper's letters for the weights of the loss of regions, of its dice term, and of its
    # cosine similarity term. The paper states no values; these were the best of those tried on ShapeScenes
    # (projects/tokenseg/sgr/DIFFERENCES.md).
    return shared | dict(num_active=64, stride=8, beta=2.0, rho=0.05, gamma=0.25)


def add_glore_to_detector(model, *, feature="res5", channels=None, place="backbone"):
    """Add only GloRe, to a model whose backbone is at `place`; see `add_glore` for the other arguments."""
    _put(L(GloRe)(channels=channels), feature, model, place)


def add_sgr_to_detector(model, *, feature="res5", channels=None, place="backbone"):
    """Add only SGR, to a model whose backbone is at `place`, and return the shared settings; see `add_sgr`."""
    component = L(SemanticReasoning)(channels=channels, num_concepts="${sgr.num_concepts}", reading="${sgr.reading}")
    _put(component, feature, model, place)
    return dict(num_concepts=512, reading="ours")


def _channels(backbone, feature):
    """Return a reference to the number of a map's channels in the facts of the backbone."""
    name, stages = OmegaConf.to_container(backbone).get("model_name"), ["res2", "res3", "res4", "res5"]
    if name == "${vit.model_name}":
        return "${vit.channels}"
    if name == "${pyramid.model_name}" and feature in stages:
        return f"${{pyramid.channels[{stages.index(feature)}]}}"
    raise ValueError(f"the channels of '{feature}' do not follow from the backbone; wanted `channels`, or another map")


def _put(component, feature, model, place):
    """Wrap the backbone at a place in the model, with a component on one of its maps."""
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
    """Add the metrics of a component to a segmentation model, and give it the learning rate of the head."""
    model._target_ = SGR
    optimizer.params.lr_factors["backbone.components"] = optimizer.params.lr_factors.get("sem_seg_head", 1.0)
    measure_tokens(dataloader)


def _one_deeper(part, reference):
    """Update the references to the backbone in a part of a config, since the backbone is now inside a wrapper."""
    if isinstance(part, dict):
        return {name: _one_deeper(value, reference) for name, value in part.items()}
    if isinstance(part, list):
        return [_one_deeper(value, reference) for value in part]
    return part.replace(reference, f"{reference}backbone.") if isinstance(part, str) else part
