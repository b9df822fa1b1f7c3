"""What the configs say beyond what building them shows, and the ablations that the page names."""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from shapes import shapes_only
from tokenseg.config.load import load_config
from tokenseg.sgr.positions import PositionConv
from tokenseg.sgr.reasoning import GraphConvolution

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs/sgr").glob("*_*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name):
    cfg = load_config(str(ROOT / f"configs/sgr/{name}.py"))
    with shapes_only():
        model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    groups = instantiate(cfg.optimizer).param_groups
    rates = {id(parameter): float(group["lr"]) for group in groups for parameter in group["params"]}
    lr = 0.006 if "cityscapes" in name else 0.004
    pretrained = getattr(model.backbone, "backbone", model.backbone)
    assert pretrained.pretrained and pretrained.output_shape()["res5"].stride == 8
    assert {rates[id(parameter)] for parameter in pretrained.parameters()} == {lr}
    rest = {id(parameter) for parameter in model.parameters()} - {
        id(parameter) for parameter in pretrained.parameters()
    }
    assert {round(rates[key], 9) for key in rest} == {10 * lr}
    auxiliary = model.extra_losses["auxiliary"]
    assert auxiliary.weight == 0.4 and auxiliary.head.in_features == ["res4"]
    if "deeplab" in name:
        layers = model.sem_seg_head.layers.pyramid.modules()
        dilations = {part.dilation[0] for part in layers if isinstance(part, torch.nn.Conv2d)}
        assert dilations == {1, 12, 24, 36}
    if "sgr" in name:
        loss, component = model.extra_losses["regions"], model.backbone.components["res5"]
        assert (loss.weight, loss.dice_weight, loss.cosine_weight, loss.num_active) == (8.0, 0.05, 1.0, 64)
        assert component.num_concepts == 512 and cfg.dataloader.train.mapper.label_targets.components.num_active == 64


ABLATIONS = {
    "model.extra_losses.regions=null dataloader.train.mapper.label_targets=null": dict(supervised=False),
    "model.extra_losses.regions.cosine_weight=0": dict(cosine=0),
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
    built |= dict(cosine=loss.cosine_weight if loss else 1.0, concepts=part.num_concepts)
    built |= dict(active=loss.num_active if loss else 64)
    usual = dict(supervised=True, graph=False, xy=True, centroid=True, cosine=1.0, concepts=512, active=64)
    assert built == usual | ABLATIONS[words]
    assert (components.most + 1 if components else 64) == built["active"] and (components is None) == (loss is None)
