import logging

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, Backbone
from omegaconf import DictConfig
from torch import nn

from tokenseg.engine.build import build_model, compile_parts, load_pretrained
from tokenseg.sgr.plug import ReasoningBackbone


class Pretrained(Backbone):
    """A map at stride 4; `loads` counts how often its weights were loaded."""

    def __init__(self, pretrained=True):
        super().__init__()
        self.pretrained, self.loads, self.layer = pretrained, 0, nn.Conv2d(3, 8, 4, stride=4)

    def output_shape(self):
        return {"res2": ShapeSpec(channels=8, stride=4)}

    def load_pretrained(self):
        self.loads += 1

    def forward(self, images):
        return {"res2": self.layer(images)}


class Wrapper(nn.Module):
    """A wrapper that loads the pretrained weights of the part inside it."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.pretrained = inner, inner.pretrained

    def load_pretrained(self):
        self.inner.load_pretrained()


def fpn(backbone):
    return FPN(backbone, ["res2"], 4)


def reasoning(backbone):
    return ReasoningBackbone(backbone=backbone, components={"res2": nn.Identity()})


@pytest.mark.parametrize("wrap", [nn.Identity, nn.Sequential, fpn, reasoning, Wrapper])
def test_pretrained_weights_load_once_at_any_depth(wrap, caplog):
    one, other = Pretrained(), Pretrained(pretrained=False)
    inner = one if wrap is nn.Identity else wrap(one)
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_pretrained(nn.ModuleDict({"backbone": inner, "other": other}))
    assert (one.loads, other.loads) == (1, 0)
    assert [line for line in caplog.messages if line.startswith("backbone")]


def test_a_model_without_pretrained_parts_says_so(caplog):
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_pretrained(nn.ModuleDict({"a": Pretrained(pretrained=False)}))
    assert "No part of the model requests pretrained weights" in caplog.text


def test_scales_and_flips_need_a_policy():
    train = {"device": "cpu", "tta": {"enabled": True, "scales": [1.0], "flip": False}}
    config = DictConfig({"model": {"_target_": "torch.nn.Identity"}, "train": train})
    with pytest.raises(ValueError, match=r"train\.tta\.enabled is true, but Identity has no inference policy"):
        build_model(config)
    config.train.tta.enabled = False
    assert isinstance(build_model(config), nn.Identity)


def test_backbone_and_head_are_compiled(monkeypatch, caplog):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, backend: compiled.append(module))
    names = ("backbone", "proposal_generator", "roi_heads", "sem_seg_head")
    model = nn.ModuleDict({name: nn.Linear(1, 1) for name in names})
    with caplog.at_level(logging.INFO, "tokenseg"):
        compile_parts(model)
    assert compiled == [model["backbone"], model["sem_seg_head"]]
    assert "Compiled: backbone, sem_seg_head; not compiled: proposal_generator, roi_heads" in caplog.text
    compile_parts(torch.nn.Identity())
