"""Runs train_net.py as a user calls it, in this process or in a new one, with a tiny model."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tokenseg.commands import train
from tokenseg_cli.run import parse, run

ROOT = Path(__file__).resolve().parents[1]


TINY = [
    "--config-file",
    str(ROOT / "configs/quickstart.py"),
    "train.device=cpu",
    "train.max_iter=4",
    "train.eval_period=2",
    "train.log_period=1",
    "train.checkpointer.period=2",
    "lr_multiplier.warmup_iter=1",
    "dataloader.train.total_batch_size=4",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataset={crop: 32, short_side: 32, long_side: 128, num_classes: 3}",
    "model.inference.stride=24",
    "vit={channels: 24, last_block: 1}",
    "model.backbone.timm_args={depth: 2, num_heads: 2}",
    "model.sem_seg_head.blocks.num_blocks=1",
    "model.backbone.drop_path_rate=0.1",
    "model.sem_seg_head.blocks.drop_path=0.1",
]


def invoke(words):
    """Run the command in this process, without turning its errors into exit codes."""
    train.main(parse("tokenseg_cli.arguments.train", ["train_net.py", *words]))


def error_line(arguments):
    """Run the command, and return the single error line with which it ends."""
    with pytest.raises(SystemExit) as stop:
        run("train", ["train_net.py", *arguments])
    assert stop.value.code.startswith("train_net.py: error: ") and "\n" not in stop.value.code
    return stop.value.code


def weights(path):
    return torch.load(path)["model"]


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def script(*words):
    return [sys.executable, "-W", "ignore", str(ROOT / "train_net.py"), *TINY, "dataset.num_classes=13", *words]


def run_script(*words, processes=1, limit=None):
    """Run train_net.py in a new process on generated data; `limit` is the maximum size of a file in bytes."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "train_net.py"), *TINY, *words, "--num-gpus", str(processes)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
    )
