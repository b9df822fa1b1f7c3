"""Settings of a run beside its schedule: averaged weights, patience, a loss on the test set, frozen parts."""

import pytest
import torch
from torch import nn

from runs import at_call, killed, left_behind
from tokenseg.config.instantiate import instantiate
from tokenseg.engine import loop
from tokenseg.engine.best import BestCheckpoint
from tokenseg.engine.build import build_model
from tokenseg.engine.checkpoint import Checkpointer
from tokenseg.engine.frozen_parts import freeze
from tokenseg.engine.metrics_file import MetricsFile, read_metrics
from tokenseg.engine.saving import PeriodicSaver
from tokenseg.engine.trainer import Trainer

AVERAGED = ["train.ema.decay=0.75"]
# The learning rate is so low that no evaluation is better than the first.
PATIENT = ["optimizer.lr=1e-30", "train.patience=2", "train.max_iter=20"]
OTHERS = pytest.mark.slow("runs that are killed at further moments")


def values(folder, name):
    return {row["iteration"]: row[name] for row in read_metrics(folder / "metrics.json") if name in row}


def test_the_average_is_of_the_weights_after_each_step(config, tmp_path):
    every = ["train.checkpointer={period: 1, max_to_keep: 9}"]
    loop.train(config("run", *AVERAGED, *every), resume=False)
    saved = [torch.load(tmp_path / f"run/model_{step:07d}.pth") for step in range(6)]
    wanted = saved[0]["model"]
    for checkpoint in saved:
        wanted = {name: 0.75 * wanted[name] + 0.25 * value for name, value in checkpoint["model"].items()}
        for name, value in checkpoint["ema"]["model"].items():
            assert torch.allclose(value, wanted[name], atol=1e-6), name
    assert not torch.allclose(wanted[name], checkpoint["model"][name])


def test_the_average_is_what_is_evaluated_and_used(config, tmp_path):
    loop.train(config("run", *AVERAGED), resume=False)
    stored = torch.load(tmp_path / "run/model_final.pth")
    model = build_model(config("run"))
    Checkpointer(model).load(str(tmp_path / "run/model_final.pth"))
    assert all(torch.equal(value, stored["ema"]["model"][name]) for name, value in model.state_dict().items())
    results = loop.evaluate(config("run"), resume=True)
    assert results["sem_seg"]["mIoU"] == values(tmp_path / "run", "sem_seg/mIoU")[5]


@pytest.mark.parametrize(
    ("settings", "moment"),
    [
        (AVERAGED, at_call(Trainer, "run_step", 4)),
        pytest.param(AVERAGED, at_call(BestCheckpoint, "__call__", 2), marks=OTHERS),
        (PATIENT, at_call(PeriodicSaver, "final", 1)),
        pytest.param(PATIENT, at_call(Checkpointer, "tag_last_checkpoint", 4), marks=OTHERS),
        pytest.param(PATIENT, at_call(MetricsFile, "write", 6), marks=OTHERS),
        (["train.validation_images=4"], at_call(MetricsFile, "write", 4)),
    ],
)
def test_a_run_killed_with_them_equals_the_unbroken(config, tmp_path, settings, moment):
    loop.train(config("unbroken", *settings), resume=False)
    assert killed(config("broken", *settings), moment) == 9
    loop.train(config("broken", *settings), resume=True)
    assert left_behind(tmp_path / "broken") == left_behind(tmp_path / "unbroken")


def test_a_run_ends_when_its_patience_does(config, tmp_path, caplog):
    with caplog.at_level("INFO", "tokenseg"):
        loop.train(config("run", *PATIENT), resume=False)
    # The evaluations after iterations 3 and 5 are no better than that after iteration 1.
    assert list(values(tmp_path / "run", "sem_seg/mIoU")) == [1, 3, 5]
    assert torch.load(tmp_path / "run/model_final.pth")["iteration"] == 5
    assert "not exceeded it for 4 iterations (train.patience)" in caplog.text
    left = left_behind(tmp_path / "run")
    loop.train(config("run", *PATIENT), resume=True)
    assert left_behind(tmp_path / "run") == left


def test_patience_without_evaluations_is_refused(config):
    with pytest.raises(ValueError, match=r"train.patience is 2 and train.eval_period 0.*wanted"):
        loop.train(config("run", "train.patience=2", "train.eval_period=0"), resume=False)


def test_the_validation_loss_is_that_of_fixed_samples(config, tmp_path):
    still = config("run", "optimizer.lr=1e-30", "train.validation_images=4")
    loop.train(still, resume=False)
    found = values(tmp_path / "run", "validation/total_loss")
    model = build_model(still).train()
    Checkpointer(model).load(str(tmp_path / "run/model_final.pth"))
    batches = iter(instantiate(still.dataloader.train))
    losses = [sum(model(next(batches)).values()).item() for _ in range(2)]
    assert list(found) == [1, 3, 5] and list(found.values()) == pytest.approx([sum(losses) / 2] * 3, rel=1e-5)


def test_a_validation_of_part_of_a_batch_is_refused(config):
    with pytest.raises(ValueError, match=r"train\.validation_images is 3; wanted a multiple of .*total_batch_size, 2"):
        loop.train(config("run", "train.validation_images=3"), resume=False)


def net():
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_frozen_parts_stay_as_they_are():
    model, before = net(), {}
    freeze(model, ["0"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=1.0)
    for _ in range(2):
        model.train()
        model(torch.randn(2, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(not name.startswith("0.") for name in changed) and "1.running_mean" in changed


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (["0.1", "2.bias"], {"0.1.weight", "0.1.bias", "2.bias"}),
        (["0.?"], {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"}),
        ([], set()),
    ],
)
def test_patterns_name_modules_or_parameters(patterns, frozen):
    model = net()
    freeze(model, patterns)
    assert {name for name, each in model.named_parameters() if not each.requires_grad} == frozen


def test_a_run_trains_what_is_not_frozen(config, tmp_path, caplog):
    with caplog.at_level("INFO", "tokenseg"):
        loop.train(config("run", "train.freeze=[sem_seg_head.layers.0.weight]"), resume=False)
    assert "0.00 M parameters, and the statistics of 0 batch norms" in caplog.text
    with pytest.raises(
        ValueError, match=r"train.freeze has 'backbne', which matches no part of the model; .* backbone, sem"
    ):
        loop.train(config("other", "train.freeze=[backbne]"), resume=False)
    with pytest.raises(ValueError, match="which leaves nothing to train"):
        loop.train(config("other", "train.freeze=['*']"), resume=False)
