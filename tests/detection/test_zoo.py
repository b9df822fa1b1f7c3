"""Our detectors beside Detectron2's own: the same parts, the same numbers, and its MSRA weights where they belong."""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import detectron2
import pytest
import torch
from detectron2.config import get_cfg, instantiate
from detectron2.modeling import build_model

from detectors import FOLDER
from shapes import shapes_only
from tokenseg.config.load import load_config
from tokenseg.engine.checkpoint import Checkpointer

ZOO = Path(detectron2.__file__).parent / "model_zoo/configs/COCO-InstanceSegmentation"
# Millions of parameters, FrozenBN having none.
SIZES = {"dc5": 191.3, "c4": 54.8, "c4_msra": 54.8, "fpn": 63.3}


def plain(value):
    """A setting, whatever kind of list or number it came as."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(part) for part in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def settings(part):
    """What the constructors of a part and of its sub-modules have noted, under the names that the classes give it."""
    return {
        f"{path}.{name}": plain(value)
        for path, module in part.named_modules()
        for name, value in vars(module).items()
        # a weight of 1 is given or left out
        if not name.startswith("_")
        and name != "loss_weight"
        and isinstance(value, bool | int | float | str | Sequence | Mapping)
    }


@pytest.mark.slow("detectors beside those of Detectron2's zoo")
@pytest.mark.parametrize("kind", SIZES)
def test_parts_are_those_of_the_zoo(kind):
    cfg = get_cfg()
    cfg.merge_from_file(str(ZOO / f"mask_rcnn_R_101_{kind.split('_')[0].upper()}_3x.yaml"))
    cfg.MODEL.DEVICE = "meta"
    with shapes_only():
        ours = instantiate(load_config(str(FOLDER / f"mask_rcnn_{kind}_resnet_101_coco_800_270k.py")).model)
        theirs = build_model(cfg)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(SIZES[kind], abs=0.05)
    frozen = [sum(p.numel() for p in model.parameters() if not p.requires_grad) for model in (ours, theirs)]
    assert frozen[0] == frozen[1] > 0
    assert str(ours.proposal_generator) == str(theirs.proposal_generator)
    assert settings(ours.proposal_generator) == settings(theirs.proposal_generator)
    if kind != "c4":  # res5 is timm's there
        assert str(ours.roi_heads) == str(theirs.roi_heads)
        assert settings(ours.roi_heads) == settings(theirs.roi_heads)


def in_caffe2(name):
    """What MSRA's file calls a weight of Detectron2's ResNet."""
    name = re.sub(r"^(backbone|roi_heads)\.", "", name).replace("stem.conv1.norm", "res_conv1_bn")
    name = name.replace("stem.", "").replace(".norm", "_bn")
    for ours, theirs in {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}.items():
        name = re.sub(rf"(res\d\.\d+)\.{ours}", rf"\1.{theirs}", name)
    name = name.replace("_bn.weight", "_bn_s").replace("_bn.bias", "_bn_b").replace(".weight", "_w")
    return name.replace(".", "_")


@pytest.fixture
def msra(monkeypatch, tmp_path):
    """A config of R50-C4 with MSRA's weights, and what stands for them where Detectron2 puts its downloads."""
    cfg = load_config(str(FOLDER / "mask_rcnn_c4_msra_resnet_101_coco_800_270k.py"), ["model.backbone.stages.depth=50"])
    scheme, _, name = cfg.train.init_checkpoint.partition("://")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    file = tmp_path / scheme / name
    file.parent.mkdir(parents=True)
    return cfg, file


@pytest.mark.slow("detectors beside those of Detectron2's zoo")
def test_msra_weights_go_to_the_backbone_and_the_regions(msra):
    cfg, file = msra
    model = instantiate(cfg.model)
    held = {
        name: torch.randn(value.shape, generator=torch.Generator().manual_seed(place))
        for place, (name, value) in enumerate(model.state_dict().items())
        if name.startswith(("backbone.", "roi_heads.res5.")) and "running" not in name
    }
    file.write_bytes(pickle.dumps({in_caffe2(name): value.numpy() for name, value in held.items()}))
    with pytest.raises(ValueError, match=r"detectron2://.*train\.allow_pickle=true"):
        Checkpointer(model, strict=False).load(cfg.train.init_checkpoint)
    Checkpointer(model, strict=False, allow_pickle=True).load(cfg.train.init_checkpoint)
    assert [name for name, value in held.items() if not model.state_dict()[name].equal(value)] == []
