"""What a run logs before its first step, and which of these lines a terminal shows."""

import logging
import sys

import pytest
import torch
from detectron2.utils.events import CommonMetricPrinter, EventStorage
from torch import nn

from tokenseg.engine import loop
from tokenseg.engine.announcement import announce_model
from tokenseg.engine.logs import quieten
from tokenseg.engine.outlets import WithSpeed


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head, self.loss = nn.Linear(1000, 1000), nn.Linear(999, 10), nn.Identity()
        self.backbone.bias.requires_grad = False
        self.head.requires_grad_(False)


def test_a_model_is_told_in_a_line_for_every_part_with_parameters(caplog):
    caplog.set_level(logging.DEBUG)
    announce_model(Parts())
    tree, told = (record for record in caplog.records if record.name == "tokenseg.engine.announcement")
    assert tree.levelno == logging.DEBUG and "in_features=999" in tree.getMessage()
    assert [" ".join(line.split()) for line in told.getMessage().splitlines()] == [
        "Parts: 1.01 M parameters, 1.00 M of them trainable",
        "backbone Linear 1.00 M 1.00 M trainable",
        "head Linear 0.01 M frozen",
    ]


def test_a_run_begins_with_what_its_user_needs(config, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    loop.train(
        config("run", "train.max_iter=2", "train.eval_period=0", "train.pictures=0", "optimizer.lr=0.5"), resume=False
    )
    lines = [record.getMessage() for record in caplog.records]
    threads = torch.get_num_threads()
    assert f"Device: cpu; 1 process(es) of {threads} thread(s); float32" in lines
    assert any(line.startswith("Data set toy_sem_seg: 6 images, 3 classes (red, green, blue)") for line in lines)
    schedule = next(line for line in lines if line.startswith("Schedule"))
    assert "iterations 0 to 1 of 2 images each, 0.7 epochs in all; AdamW, learning rate 0.5" in schedule
    assert "evaluation at the end, checkpoint every 2 iterations" in schedule
    assert any(line.startswith(f"Output: {tmp_path}/run, for checkpoints") for line in lines)
    assert any(line.startswith("Evaluated 6 batches in ") for line in lines)


@pytest.fixture
def terminal():
    """The log handler of a terminal, and a function that returns whether it shows a line."""
    handler = logging.StreamHandler(sys.stdout)
    quieten(handler)

    def shows(name, level):
        record = logging.makeLogRecord({"name": name, "levelno": level, "msg": "a line"})
        return level >= handler.level and bool(handler.filter(record))

    return handler, shows


@pytest.mark.parametrize(
    ("name", "level", "wanted"),
    [
        ("tokenseg.engine.announcement", logging.INFO, True),
        ("tokenseg.engine.announcement", logging.DEBUG, False),
        ("detectron2.utils.events", logging.INFO, True),
        ("detectron2.data.common", logging.INFO, False),
        ("detectron2.data.common", logging.WARNING, True),
        ("detectron2.evaluation.evaluator", logging.INFO, False),
    ],
)
def test_a_terminal_shows_what_its_user_waits_for(terminal, name, level, wanted):
    assert terminal[1](name, level) is wanted


def test_lines_of_a_terminal_name_no_module_but_warn(terminal):
    levels = {logging.INFO: "INFO", logging.WARNING: "WARNING"}
    records = [logging.makeLogRecord({"levelno": level, "levelname": levels[level], "msg": "a"}) for level in levels]
    told = [terminal[0].format(record) for record in records]
    assert [line.partition("] ")[2] for line in told] == ["a", "WARNING: a"]


@pytest.mark.parametrize("timed", [True, False])
def test_a_line_of_the_log_has_images_per_second_and_memory(caplog, monkeypatch, timed):
    monkeypatch.setattr("tokenseg.engine.outlets.process_memory", lambda entry: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caplog.set_level(logging.INFO)
    printer = CommonMetricPrinter(10)
    printer.logger = WithSpeed(logging.getLogger("test of lines"), batch_size=8, window=2)
    with EventStorage() as storage:
        for seconds in (9.0, 1.0, 3.0):
            if timed:
                storage.put_scalar("time", seconds)
            storage.put_scalar("total_loss", 0.5)
            storage.step()
        printer.write()
    (line,) = caplog.messages
    assert "iter: 3" in line and "total_loss: 0.5" in line and line.endswith("max_mem: 3M")
    assert ("images/s: 4  " in line) is timed  # 8 images in 2 s, the mean of the last two steps
