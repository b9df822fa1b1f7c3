import hashlib

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.modeling import FPN, GeneralizedRCNN
from omegaconf import DictConfig
from torch import nn

from tokenseg import load_backbone
from tokenseg.backbone_file import read_backbone
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone

PIXELS = dict(pixel_mean=[127.5] * 3, pixel_std=[127.5] * 3)


def bottom_up(**args):
    trunk = L(TimmPyramid)(model_name="resnet10t", pretrained=False, timm_args={"channels": [8, 8, 8, 16]}, **args)
    return L(ReasoningBackbone)(backbone=trunk, components=L("builtins.dict")(res5=L(GloRe)(channels=16)))


def segmentor():
    head = L(PerPixelHead)(in_feature="res5", layers=L(nn.Conv2d)(in_channels=16, out_channels=2, kernel_size=1))
    return L(Segmentor)(backbone=bottom_up(), sem_seg_head=head, **PIXELS)


def detector():
    fpn = L(FPN)(bottom_up=bottom_up(norm="FrozenBN"), in_features=["res4", "res5"], out_channels=8)
    heads = dict(proposal_generator=L(nn.Identity)(), roi_heads=L(nn.Identity)())
    return L(GeneralizedRCNN)(backbone=fpn, **heads, **PIXELS)


@pytest.fixture
def run(tmp_path):
    """A function that writes the files of a run, and returns its model and the arguments of the command."""

    def leave(model, order="BGR"):
        mapper = dict(image_format=order)
        parts = dict(model=model, dataloader=dict(train=dict(mapper=mapper)), train=dict(output_dir="my_run"))
        LazyConfig.save(DictConfig(parts, flags={"allow_objects": True}), str(tmp_path / "config.yaml"))
        built = instantiate(model)
        torch.save({"model": built.state_dict(), "iteration": 7}, tmp_path / "model_best.pth")
        words = ["--config-file", tmp_path / "config.yaml", "--weights", tmp_path / "model_best.pth"]
        return built, [*words, "--trust-config", "--output", tmp_path / "deep/backbone.safetensors"]

    return leave


@pytest.mark.parametrize("kind", [segmentor, detector])
def test_the_backbone_of_a_run_goes_into_another_model(kind, run, command, tmp_path):
    model, words = run(kind())
    command("export_backbone", *words)
    path = str(tmp_path / "deep/backbone.safetensors")
    target = instantiate(bottom_up())
    load_backbone(target, path)
    source = model.backbone if kind is segmentor else model.backbone.bottom_up
    state, wanted = target.state_dict(), source.state_dict()
    assert all(torch.equal(state[name], value) for name, value in wanted.items() if "num_batches" not in name)
    facts = read_backbone(path, facts_alone=True).facts
    assert facts["pixels"]["image_format"] == "BGR" and facts["components"]["res5"]["kind"] == "GloRe"
    sums = hashlib.sha256((tmp_path / "model_best.pth").read_bytes()).hexdigest()
    assert facts["run"]["output_dir"] == "my_run" and facts["run"]["iteration"] == 7 and facts["run"]["sha256"] == sums


def listed(text):
    """Return the names of weights in paragraphs of the form `  module: layer.weight, layer.weight`."""
    paragraphs = [line.strip().split(": ") for line in text.replace("\n      ", " ").splitlines() if line[:2] == "  "]
    return [f"{module}.{name}" for module, *names in paragraphs if names for name in names[0].split(", ")]


def test_every_weight_is_listed(run, command, capsys):
    model, words = run(segmentor())
    command("export_backbone", *words)
    kept, _, dropped = capsys.readouterr().out.partition("dropped: ")
    in_file = [name.replace("backbone.backbone.", "backbone.") for name in model.state_dict()]
    in_file = [name.replace("backbone.components.", "components.") for name in in_file if "num_batches" not in name]
    assert sorted(listed(kept)) == sorted(name for name in in_file if "sem_seg_head" not in name)
    counts = [name for name in model.state_dict() if name.endswith("num_batches_tracked")]
    assert sorted(listed(dropped)) == sorted([*counts, "sem_seg_head.layers.weight", "sem_seg_head.layers.bias"])
    assert f"kept: {len(in_file) - 2} weights" in kept and dropped.startswith(f"{len(counts) + 2} weights")
    assert dropped.strip().endswith("resnet10t at output stride 32 with GloRe on res5")


def test_a_checkpoint_of_another_model_is_refused(run, command, tmp_path):
    _, words = run(segmentor())
    torch.save({"model": instantiate(detector()).state_dict()}, tmp_path / "model_best.pth")
    with pytest.raises(ValueError, match=r"contains no backbone of this model: .* backbone\.backbone\.trunk"):
        command("export_backbone", *words)
    assert not (tmp_path / "deep").exists()


def test_outputs_are_checked(run, command, tmp_path):
    _, words = run(segmentor())
    command("export_backbone", *words)
    with pytest.raises(ValueError, match="exists already; wanted another name, or --overwrite"):
        command("export_backbone", *words)
    command("export_backbone", *words, "--overwrite")
    with pytest.raises(ValueError, match=r"wanted a file name that ends in \.safetensors"):
        command("export_backbone", *words[:-1], tmp_path / "backbone.pth")


def test_the_order_of_the_channels_has_to_be_known(run, command):
    _, words = run(segmentor(), order=None)
    with pytest.raises(ValueError, match="the config does not state whether its images are RGB or BGR"):
        command("export_backbone", *words)
