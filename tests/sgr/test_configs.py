"""What the configs say beyond what building them shows, and the ablations that the page names."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from loaded_configs import loaded
from shapes import shapes_only
from tokenseg.config.load import load_config
from tokenseg.inspection import RegionSegmentor
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.sgr.positions import PositionConv
from tokenseg.sgr.reasoning import GraphConvolution, SemanticReasoning
from tokenseg.sgr.region_loss import RegionLoss

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs/sgr").glob("*_*.py"))
DILATED = [name for name in NAMES if name.startswith(("fcn", "deeplab_v3"))]
# Weight decay, bound on all gradients, power and warm-up.
ADAMW = {"uper_net": (0.01, None, 1.0, 1500), "mask_former": (1e-4, 0.01, 0.9, 0), "mask2former": (0.05, 0.01, 0.9, 0)}
HOSTS = {name: host for name in NAMES for host in ADAMW if name.startswith(host)}


def build(name):
    """The config, its model on `meta`, and the groups of its parameters in the optimiser by their names."""
    cfg = loaded(ROOT / f"configs/sgr/{name}.py")
    with shapes_only():
        model = instantiate(cfg.model)
    optimizer = copy.deepcopy(cfg.optimizer)
    optimizer.params.model = model
    homes = {id(p): group for group in instantiate(optimizer).param_groups for p in group["params"]}
    return cfg, model, {key: homes[id(p)] for key, p in model.named_parameters() if p.requires_grad}


def check_rates(model, groups, lr):
    """What is pretrained learns at `lr`, and all else ten times as fast."""
    begin = "backbone.backbone." if isinstance(model.backbone, ReasoningBackbone) else "backbone."
    for name, group in groups.items():
        assert float(group["lr"]) == pytest.approx(lr if name.startswith(begin) else 10 * lr), name


def check_parts(cfg, model, name):
    """The auxiliary head, and SGR."""
    if not name.startswith("mask"):
        auxiliary = model.extra_losses["auxiliary"]
        assert auxiliary.weight == 0.4 and auxiliary.head.in_features == ["res4"]
    if "sgr" in name:
        loss, component = model.extra_losses["regions"], model.backbone.components["res5"]
        assert (loss.weight, loss.dice_weight, loss.cosine_weight, loss.num_active) == (2.0, 0.05, 0.25, 64)
        assert component.num_concepts == 512 and cfg.dataloader.train.mapper.label_targets.components.num_active == 64
    crop_and_batch = (768, 8) if "cityscapes" in name else (512, 16)
    assert (cfg.dataset.crop, cfg.dataloader.train.total_batch_size) == crop_and_batch


def test_every_config_has_a_recipe():
    assert sorted([*DILATED, *HOSTS]) == NAMES


@pytest.mark.parametrize("name", DILATED)
def test_recipe(name):
    cfg, model, groups = build(name)
    check_rates(model, groups, 0.006 if "cityscapes" in name else 0.004)
    check_parts(cfg, model, name)
    assert model.backbone.output_shape()["res5"].stride == 8
    assert {group["weight_decay"] for group in groups.values()} == {5e-4}
    if "deeplab" in name:
        layers = model.sem_seg_head.layers.pyramid.modules()
        dilations = {part.dilation[0] for part in layers if isinstance(part, torch.nn.Conv2d)}
        assert dilations == {1, 12, 24, 36}


@pytest.mark.parametrize("name", HOSTS)
def test_recipe_of_hosts(name):
    cfg, model, groups = build(name)
    decay, clip, power, warmup = ADAMW[HOSTS[name]]
    check_rates(model, groups, 1e-5)
    check_parts(cfg, model, name)
    assert (cfg.train.clip_grad_norm, cfg.lr_multiplier.power, cfg.lr_multiplier.warmup_iter) == (clip, power, warmup)
    assert {group["weight_decay"] for group in groups.values()} == {0.0, decay}
    norms = [key for key, part in model.named_modules() if "Norm" in type(part).__name__]
    embeddings = ("query_states", "query_positions", "query_decoder.level_embeddings", "position_bias_table")
    for key, group in groups.items():
        exempt = key.rpartition(".")[0] in norms or key.endswith(embeddings)
        assert group["weight_decay"] == (0.0 if exempt else decay), key


def test_the_resnets_of_hosts():
    _, model, _ = build("mask_former_resnet_101c_ade20k_512_160k")
    trunk = model.backbone.trunk
    assert [block.conv2.dilation[0] for block in trunk.layer4] == [1, 2, 4]
    assert [part.out_channels for part in trunk.conv1 if hasattr(part, "out_channels")] == [64, 64, 128]
    _, model, groups = build("mask2former_resnet_101_cityscapes_768_80k")
    assert "backbone.trunk.bn1.weight" in groups and len(model.backbone.out_norms) == 0
    _, model, groups = build("mask_former_resnet_101_cityscapes_768_80k")
    assert "backbone.trunk.bn1.weight" not in groups


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_instances")])
def test_instances_are_measured_alone(name):
    cfg = loaded(ROOT / f"configs/sgr/{name}.py")
    assert cfg.dataset.test == "coco_2017_val" and set(cfg.dataloader.evaluator) == {"_target_", "masks"}


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_instances")])
def test_classes_are_measured_where_tokens_have_regions(name):
    cfg = loaded(ROOT / f"configs/sgr/{name}.py")
    regions = issubclass(cfg.model._target_, RegionSegmentor)
    assert regions == any(word in name for word in ("sgr", "glore", "mask")) == ("tokens" in cfg.dataloader.evaluator)


ABLATIONS = {
    "model.extra_losses.regions=null dataloader.train.mapper.label_targets=null": dict(supervised=False),
    "sgr.gamma=0": dict(cosine=0),
    "model.backbone.components.res5.reasoning=graph": dict(graph=True),
    "model.backbone.components.res5.xy_code=false": dict(xy=False),
    "model.backbone.components.res5.centroid_code=false": dict(centroid=False),
    "sgr.num_concepts=256 sgr.num_active=32": dict(concepts=256, active=32),
}


@pytest.mark.parametrize("words", ABLATIONS)
def test_ablations_build_and_are_in_the_readme(words):
    assert f"`{words}`" in (ROOT / "projects/tokenseg/sgr/README.md").read_text()
    config = ROOT / "configs/sgr/fcn_sgr_resnet_101_coco_stuff_10k_512_60k.py"
    cfg = load_config(str(config), words.split())
    with shapes_only():
        model = instantiate(cfg.model)
    part = model.backbone.components["res5"]
    loss = dict(model.extra_losses.items()).get("regions")
    components = (instantiate(cfg.dataloader.train.mapper.label_targets) or {}).get("components")
    built = dict(supervised=loss is not None, graph=isinstance(part.reason, GraphConvolution))
    built |= dict(xy=all(m.code for m in part.modules() if isinstance(m, PositionConv)), centroid=part.centroid_code)
    built |= dict(cosine=loss.cosine_weight if loss else 0.25, concepts=part.num_concepts)
    built |= dict(active=loss.num_active if loss else 64)
    usual = dict(supervised=True, graph=False, xy=True, centroid=True, cosine=0.25, concepts=512, active=64)
    assert built == usual | ABLATIONS[words]
    assert (components.most + 1 if components else 64) == built["active"] and (components is None) == (loss is None)


def test_the_papers_weights_and_the_reading_are_a_key_each():
    words = ["sgr.beta=3", "sgr.rho=0.5", "sgr.gamma=0.7", "sgr.reading=printed"]
    model = load_config(str(ROOT / "configs/shape_scenes/sgr_sgr.py"), words).model
    loss, component = instantiate(model.extra_losses.regions), instantiate(model.backbone.components)["res5"]
    assert (loss.weight, loss.dice_weight, loss.cosine_weight, loss.union) == (3, 0.5, 0.7, "sum_clamped")
    assert component.token_aggregation == "sum"


def test_readings_of_sgr():
    assert SemanticReasoning(channels=8).token_aggregation == "mean" and RegionLoss(regions="r").union == "noisy_or"
    assert SemanticReasoning(channels=8, reading="printed", token_aggregation="mean").token_aggregation == "mean"
    assert RegionLoss(regions="r", reading="printed", union="noisy_or").union == "noisy_or"


def test_an_unknown_reading_of_sgr_is_refused():
    for part in (functools.partial(SemanticReasoning, channels=8), functools.partial(RegionLoss, regions="regions")):
        with pytest.raises(ValueError, match="reading is 'released'; wanted one of ours, printed"):
            part(reading="released")
