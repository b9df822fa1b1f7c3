"""The commands and the table in projects/DETECTION.md work; engine/test_detectron2_loop.py runs the rest."""

import functools
import re
import shlex
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file

from detectors import DETECTORS, HEADS, resnet, sgr
from shapes import shapes_only
from tokenseg.backbone_parts import check_facts, facts_of, find_parts
from tokenseg.config.load import load_config
from tokenseg.datasets import shape_scenes

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "projects/DETECTION.md").read_text()
# Overrides for one step of the smallest models on the CPU.
STEP = ["train={device: cpu, max_iter: 1, eval_period: 0, log_period: 1}", "lr_multiplier.warmup_iter=0"]
STEP += ["dataloader.train={total_batch_size: 2, num_workers: 0}", "dataloader.test.num_workers=0"]
SEGMENTATION = [*resnet("model.backbone.backbone"), *sgr("model.backbone"), "model.backbone.backbone.pretrained=false"]
SEGMENTATION += ["sgr.num_active=4"]
DETECTION = [*HEADS, *DETECTORS["dc5_sgr_resnet_101"], "lr_multiplier.milestones=[]"]
CROP = "dataset={crop: 32, short_side: 32, long_side: 64, num_classes: 3}"
SIZES = f"dataset={{short_sides: [64], test_short_side: 64, long_side: 64, num_classes: {len(shape_scenes.THINGS)}}}"


def commands(text):
    """Return the commands of a code block as lists of words, with its variables replaced by their values."""
    variables = dict(re.findall(r"^(\w)=(.*)$", text, re.MULTILINE))
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("python "):
            filled = re.sub(r"\$(\w)", lambda match: variables[match[1]], line)
            yield [re.sub("^configs/", f"{ROOT}/configs/", word) for word in shlex.split(filled)[1:]]


@pytest.mark.slow("the commands of the page on detection")
def test_the_commands_lead_from_segmentation_to_a_detector(command, toy_dataset, instances, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    block = dict(blocks[:1])[""]
    sets = {True: [CROP, f"dataset={{train: {toy_dataset}, test: {toy_dataset}}}"]}
    sets[False] = [SIZES, f"dataset={{train: {instances}, test: {instances}, mask_format: bitmask}}"]
    called, fine_tuning = [], []
    for script, *words in commands(block):
        called.append(Path(script).stem)
        is_new = called[-1] == "train_net" and "--eval-only" not in words
        segments = "/sgr/" in words[1]
        extra = [*(SEGMENTATION if segments else DETECTION), *STEP, *sets[segments]] if is_new else []
        command(called[-1].removesuffix("_net"), *words, *extra)
        fine_tuning = [*words, *extra] if is_new else fine_tuning
    assert called == ["train_net", "export_backbone", "train_net", "train_net"]
    assert len(block.splitlines()) <= 10
    begun = (tmp_path / "output/dc5_sgr/log.txt").read_text()
    weights = load_file("output/fcn_sgr.safetensors")
    assert f"starts from output/fcn_sgr.safetensors: {len(weights)} weights, run: output_dir output/fcn_sgr" in begun
    detector = torch.load("output/dc5_sgr/model_best.pth")["model"]
    stem = "backbone.trunk.conv1.weight"  # frozen, so training does not change it
    assert torch.equal(detector[f"backbone.{stem}"], weights[stem])
    Path("output/fcn_sgr.safetensors").unlink()
    command("train", *fine_tuning, "--resume")
    log = (tmp_path / "output/dc5_sgr/log.txt").read_text()
    assert "The training is already complete: it ended after iteration 0" in log


def pairs():
    """Return the rows of the table: config of the segmentation model, config of the detector, and further overrides."""
    rows = re.findall(r"^\| `(\w+/\w+)` \| `(\w+_270k)` \| (?:`(.*)`)? ?\|$", PAGE, re.MULTILINE)
    return [pytest.param(*row, id=f"{row[0]} to {row[1]}") for row in rows]


@functools.cache
def facts(path, *overrides):
    config = load_config(f"{ROOT}/configs/{path}.py", list(overrides))
    for place in ("", ".backbone", ".bottom_up", ".bottom_up.backbone"):
        backbone = OmegaConf.select(config, f"model.backbone{place}")
        if backbone is not None and "resnet" in backbone.get("model_name", ""):
            backbone.timm_args = {"layers": [1, 1, 1, 1]}  # all stages, but quickly
    with shapes_only():
        backbone = instantiate(config.model.backbone)
    parts, mapper = find_parts(backbone), OmegaConf.select(config, "dataloader.train.mapper")
    found = facts_of(backbone, parts, image_format=mapper.image_format)
    found["pixels"] |= {"mean": [*config.model.pixel_mean], "std": [*config.model.pixel_std]}
    return found, {name: backbone.state_dict()[place].shape for name, place in parts.names().items()}


def test_the_table_has_rows():
    assert len(pairs()) == 8


@pytest.mark.slow("the pairs of configs in the page on detection")
@pytest.mark.parametrize(("segmentation", "detection", "say"), pairs())
def test_backbones_fit_the_detectors_beside_them(segmentation, detection, say):
    stride = int(say.removeprefix("accept_stride=")) if say.startswith("accept_stride=") else None
    got, got_shapes = facts(segmentation)
    wanted, wanted_shapes = facts(f"detection/mask_rcnn_{detection}", *([say] if say and not stride else []))
    check_facts(got, wanted, accept_stride=stride)
    assert got["components"] == wanted["components"]
    differing = {name for name in got_shapes if got_shapes[name] != wanted_shapes.get(name)}
    assert got_shapes.keys() == wanted_shapes.keys() and differing <= {"backbone.vit.pos_embed"}
