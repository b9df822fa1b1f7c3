"""SGR and GloRe go into every method by the same call, which names a map of its backbone."""

import runpy
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from test_methods import METHODS, batch, one_of_each, tiny_config
from tokenseg.engine.build import begin_random
from tokenseg.meta_arch import SGR

CALLS = runpy.run_path(str(Path(__file__).resolve().parents[2] / "configs/common/sgr.py"))
WITHOUT = [name for name in METHODS if "sgr" not in name and "glore" not in name]


def add(component, cfg, **words):
    """The call, as a config makes it."""
    shared = CALLS[f"add_{component}"](cfg.model, cfg.dataloader, cfg.optimizer, **words)
    if shared:
        cfg.sgr = shared | dict(num_concepts=12, num_active=8)


def last_map(cfg):
    """The name of the coarsest map, which all methods here use."""
    return f"block{cfg.model.backbone.out_blocks[-1]}" if "vit" in cfg else "res5"


@pytest.mark.parametrize("component", ["sgr", "glore"])
@pytest.mark.parametrize("name", one_of_each("SGR and GloRe in the variants of the methods", WITHOUT))
def test_a_step_of_every_method(name, component):
    cfg = tiny_config(name)
    feature = last_map(cfg)
    add(component, cfg, feature=feature)
    model = begin_random(instantiate(cfg.model)).train()
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    before = [p.detach().clone() for p in model.backbone.components.parameters()]
    losses = model(batch(0, None))
    sum(losses.values()).backward()
    optimizer.step()
    assert isinstance(model, SGR) and list(model.backbone.components) == [feature]
    assert any("region" in loss for loss in losses) == (component == "sgr")
    assert any(not torch.equal(*pair) for pair in zip(model.backbone.components.parameters(), before, strict=True))
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_component_learns_as_fast_as_the_head():
    cfg = tiny_config("segvit")
    add("sgr", cfg, feature="block3")
    factors = cfg.optimizer.params.lr_factors
    assert factors["backbone.components"] == factors["sem_seg_head"] == 10.0
    assert cfg.model.sem_seg_head.size_feature == "block1" and list(cfg.model.sem_seg_head.bases.blocks) == [1, 3]
    assert set(cfg.dataloader.evaluator) == {"_target_", "sem_seg", "tokens"}


def test_a_map_and_channels_of_ones_own():
    cfg = tiny_config("fcn")
    add("glore", cfg, feature="res4")
    assert cfg.model.backbone.components.res4.channels == 32
    cfg = tiny_config("fcn")
    cfg.model.backbone.model_name = "resnet18"
    with pytest.raises(ValueError, match="the channels of 'res5' do not follow from the backbone; wanted `channels`"):
        add("sgr", cfg)
    add("sgr", cfg, channels=64)
    assert cfg.model.backbone.components.res5.channels == 64


@pytest.mark.parametrize(
    ("name", "feature", "message"),
    [
        ("fcn", "block1", "channels of 'block1' do not follow"),
        ("fcn_glore", "res5", "the model has a component already"),
    ],
)
def test_mistakes_of_the_call(name, feature, message):
    with pytest.raises(ValueError, match=message):
        add("sgr", tiny_config(name), feature=feature)


def test_a_map_that_is_not_there():
    cfg = tiny_config("segvit")
    add("sgr", cfg, feature="block2")
    with pytest.raises(ValueError, match=r"components are for the maps \['block2'\]; wanted .* block1, block3"):
        instantiate(cfg.model)
