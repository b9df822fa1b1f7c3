"""The loop trains Detectron2's own models: the configs for detection, made small, on generated instances."""

import logging
import math
from functools import partialmethod

import pytest
import torch
from detectron2.config import instantiate
from torch import nn

from detectors import BELOW, narrow_config
from runs import at_call, killed, left_behind
from tokenseg.datasets import shape_scenes
from tokenseg.engine import loop
from tokenseg.engine.metrics_file import read_metrics
from tokenseg.engine.trainer import Trainer


@pytest.fixture
def config(instances, tmp_path):
    """A function that returns a config which trains in a folder, with a backbone at a given place in the model."""

    def build(folder, name="dc5_sgr_resnet_101", backbone="model.backbone.backbone", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        config = narrow_config(
            name,
            f"dataset={{train: {instances}, test: {instances}, num_classes: {len(shape_scenes.THINGS)}}}",
            "dataset={mask_format: bitmask, short_sides: [64], test_short_side: 64, long_side: 64}",
            "dataloader.train={total_batch_size: 2, num_workers: 0}",
            "dataloader.test.num_workers=0",
            "lr_multiplier={milestones: [2], warmup_iter: 1}",
            "train={device: cpu, max_iter: 3, eval_period: 2, log_period: 1, checkpointer: {period: 1}}",
            f"train.output_dir={tmp_path / folder}",
            f"{backbone}={{pretrained: false, freeze_at: 0}}",
        )
        config.train.update(**changes)
        return config

    return build


def test_the_backbone_inside_an_fpn_begins_from_its_weights(config, tmp_path, caplog):
    run = config("run", "fpn_resnet_101", BELOW, max_iter=1, eval_period=0)
    bottom_up = instantiate(run.model.backbone.bottom_up)
    torch.save(bottom_up.trunk.state_dict(), tmp_path / "trunk.pth")
    run.model.backbone.bottom_up.weights_file = str(tmp_path / "trunk.pth")
    run.optimizer.lr, run.dataloader.evaluator = 0.0, None
    run.lr_multiplier.update(milestones=[], warmup_iter=0)
    with caplog.at_level(logging.INFO, "tokenseg"):
        loop.train(run, resume=False)
    assert "backbone.bottom_up (TimmPyramid) starts from its pretrained weights" in caplog.text
    trained = torch.load(tmp_path / "run/model_final.pth")["model"]
    for name, weight in bottom_up.named_parameters():
        assert torch.equal(trained[f"backbone.bottom_up.{name}"], weight), name


@pytest.mark.slow("Mask R-CNN in the loop")
def test_a_run_killed_equals_the_unbroken(config, tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.INFO, "tokenseg"):
        loop.train(config("unbroken"), resume=False)
    assert "GeneralizedRCNN normalises its losses over the images of each call" in caplog.text
    rows = read_metrics(tmp_path / "unbroken/metrics.json")
    assert [row["iteration"] for row in rows if "segm/AP" in row] == [1, 2]
    assert all(math.isfinite(row["loss_mask"]) for row in rows) and len(rows) == 3
    assert killed(config("broken"), at_call(Trainer, "run_step", 3)) == 9
    loop.train(config("broken"), resume=True)
    assert left_behind(tmp_path / "broken") == left_behind(tmp_path / "unbroken")


@pytest.mark.slow("Mask R-CNN in the loop")
@pytest.mark.parametrize(
    "change", [{"accumulate": 2}, {"compile": True}, {"amp": {"enabled": True, "dtype": "bfloat16"}}]
)
def test_settings_of_the_loop_hold_for_it(config, tmp_path, monkeypatch, change):
    # Compiling takes minutes, so compiled code is tested with a smaller model.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    loop.train(config("run", **change), resume=False)
    rows = read_metrics(tmp_path / "run/metrics.json")
    assert len(rows) == 3 and "segm/AP" in rows[-1] and all(math.isfinite(row["total_loss"]) for row in rows)


def test_scales_and_flips_are_refused(config):
    with pytest.raises(ValueError, match="GeneralizedRCNN has no inference policy"):
        loop.train(config("run", tta={"enabled": True, "scales": [1.0], "flip": True}), resume=False)
