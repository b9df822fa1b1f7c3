import contextlib
import logging
from pathlib import Path

import pytest
import torch

from runs import at_call, killed, left_behind
from tokenseg.alarms.hook import TokenAlarms
from tokenseg.config.load import load_config
from tokenseg.data.stream import TrainLoader
from tokenseg.engine import loop
from tokenseg.engine.trainer import Trainer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LIMITS = {"image_x_token": [0.01, None], "cosine": [None, 0.99]}


@pytest.fixture
def config(toy_dataset, tmp_path):
    """A function from the name of a folder and overrides to a config of six iterations of the smallest SegViT."""

    def build(folder, *overrides):
        shared = [
            f"dataset={{train: {toy_dataset}, test: {toy_dataset}, num_classes: 3, crop: 16}}",
            "vit={channels: 12, last_block: 1}",
            "model.backbone={timm_args: {depth: 2, num_heads: 2}, out_blocks: [0, 1]}",
            "decoder={width: 8, num_heads: 2}",
            "model.sem_seg_head={num_layers: 1, dropout: 0.1}",
            "model.inference={window: 16, stride: 16}",
            "train={device: cpu, max_iter: 6, eval_period: 3, log_period: 1}",
            "train.checkpointer={period: 2, max_to_keep: 3}",
            "dataloader.train={total_batch_size: 2, num_workers: 0}",
            "dataloader.test.num_workers=0",
            "lr_multiplier.warmup_iter=0",
            f"train.output_dir={tmp_path / folder}",
        ]
        (tmp_path / folder).mkdir(exist_ok=True)
        return load_config(str(CONFIGS / "shape_scenes/segvit.py"), [*shared, *overrides])

    return build


@pytest.mark.slow("a run with alarms trains bit by bit as one without, also when it is cut")
def test_a_run_with_alarms_trains_as_one_without_and_resumes_exactly(config, tmp_path):
    loop.train(config("without"), resume=False)
    on = ["train.alarms={period: 2, images: 3, patience: 1}"]
    loop.train(config("with", *on), resume=False)
    without, found = left_behind(tmp_path / "without"), left_behind(tmp_path / "with")
    measured = [{key for key in row if key.startswith("alarms/")} for row in found["rows"]]
    assert [bool(names) for names in measured] == [False, True] * 3
    assert "alarms/sem_seg_head/image_x_token" in measured[1]
    rows = [{key: value for key, value in row.items() if not key.startswith("alarms/")} for row in found["rows"]]
    assert {**found, "rows": rows} == without

    assert killed(config("cut", *on), at_call(Trainer, "run_step", 4)) == 9
    loop.train(config("cut", *on), resume=True)
    assert left_behind(tmp_path / "cut") == found
    streaks = [
        torch.load(tmp_path / f"{name}/model_final.pth")["trainer"]["hooks"]["TokenAlarms"] for name in ("with", "cut")
    ]
    assert streaks[0] == streaks[1] and set(streaks[0]["beyond"].values()) <= {1, 2, 3}


def alarms(**changes):
    return TokenAlarms(**{"period": 2, "images": 2, "patience": 2, "log_period": 1, "limits": LIMITS, **changes})


class Storage(dict):
    def put_scalar(self, name, value, *, smoothing_hint):
        self[name] = value


@pytest.fixture
def watched(config, caplog):
    """A function that trains the smallest SegViT for three measurements, and returns the warnings and last values."""
    trainer = loop.build_trainer(config("run"))

    def watch(change):
        trainer.storage, hook = Storage(), alarms(images=3)
        with torch.no_grad():
            change(trainer.model.sem_seg_head)
        trainer.register_hooks([hook])
        hook.before_train()
        caplog.clear()
        with caplog.at_level(logging.INFO, "tokenseg"):
            for trainer.iter in range(6):
                hook.after_step()
        said = [record.getMessage() for record in caplog.records if record.name == "tokenseg.alarms.hook"]
        return said, trainer.storage

    return watch


def healthy(head):
    """Make tokens attend to different positions, and depend on what is there."""
    attention = head.levels[-1][-1].cross_attention
    for layer in (attention.query, attention.key, attention.value, attention.out):
        layer.weight.normal_(std=2)


def collapsed(head):
    """Make all tokens equal at the start, and independent of the images."""
    head.tokens.fill_(1)
    for layers in head.levels:
        layers[0].cross_attention.out.weight.zero_()


def test_a_collapsed_head_raises_each_alarm_once_and_a_healthy_one_none(watched):
    said, values = watched(healthy)
    assert said == [] and values["alarms/sem_seg_head/image_x_token"] > 0.01
    said, values = watched(collapsed)
    assert values["alarms/sem_seg_head/cosine"] == pytest.approx(1)
    assert len(said) == 2  # one per alarm, in spite of three measurements
    assert said[0].startswith(
        "Alarm: sem_seg_head/image_x_token is 0, below 0.01, in 2 consecutive measurements up to "
    )
    assert "sem_seg_head/cosine is 1, above 0.99" in said[1]


def test_an_alarm_ends_and_counts_go_over_a_resume(caplog):
    hook, resumed = alarms(), alarms()
    hook._judge({"head/cosine": 1.0})
    resumed.load_state_dict(hook.state_dict())
    with caplog.at_level(logging.INFO, "tokenseg"):
        resumed.trainer = type("Trainer", (), {"iter": 7})
        for value in (1.0, 1.0, 0.5, 1.0):
            resumed._judge({"head/cosine": value, "head/mass": 9.0})
    assert [record.getMessage()[:12] for record in caplog.records] == ["Alarm: head/", "Alarm over: "]
    assert resumed.state_dict() == {"beyond": {"head/cosine": 1}} and alarms().state_dict() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period": 3, "log_period": 2}, "wanted 0 to disable alarms, or a multiple of train.log_period, 2"),
        ({"images": 1}, "wanted 2 or more"),
        ({"limits": {"entropi": [0, 1]}}, "limits has entropi; wanted"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        alarms(**changes)


def test_a_model_without_tokens_is_told_once(toy_dataset, caplog):
    loader = TrainLoader(dataset=toy_dataset, mapper=dict, total_batch_size=2, num_workers=0, seed=0)
    model, hook = torch.nn.Flatten(), alarms()
    model.forward = len
    parts = {"data_loader": loader, "device": torch.device("cpu"), "amp_dtype": None}
    parts["whole"] = lambda: contextlib.nullcontext(model)
    hook.trainer = type("Trainer", (), parts)
    hook.before_train()
    for hook.trainer.iter in range(6):
        hook.after_step()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text[-30:] for text in warnings] == ["model has no tokens to measure"]


def test_a_stream_without_a_beginning_is_told():
    hook = alarms()
    hook.trainer = type("Trainer", (), {"data_loader": [[{}]]})
    with pytest.raises(ValueError, match="train is a list, which cannot give its first images again"):
        hook.before_train()
