"""Measure the seconds from the start of a training to the end of its first iteration, stage by stage.

Each round starts the command `train` in a new process, measures when each stage ends, and stops the process after its
first iteration. `s` is wall time, and `CPU s` is the CPU time of the process, on which the load of the machine has
little influence. With --checkout, another checkout of TokenSeg is started alternately with this one, and the table
shows both. No files are left behind.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tokenseg_cli.process import KEPT

from ._runs import Clock

ROOT = Path(__file__).resolve().parents[2]
# The program of the process. It imports the same packages as the command, each after those on which it depends, and
# wraps the functions at whose end a stage ends.
CHILD = """
import importlib, json, os, sys, time
rows, last = [], [float(sys.argv.pop(1)), 0.0]
def mark(stage):
    now = time.time(), time.process_time()
    rows.append([stage, now[0] - last[0], now[1] - last[1]])
    last[:] = now
def ends(stage, owner, name):
    inner = getattr(owner, name)
    def outer(*args, **options):
        result = inner(*args, **options)
        mark(stage)
        return result
    setattr(owner, name, outer)
from tokenseg_cli.run import run
load = importlib.import_module
def load_in_stages(name, package=None):
    if name != "tokenseg.commands.train":
        return load(name, package)
    mark("Python, arguments")
    for stage, package in (("torch", "torch"), ("Detectron2", "detectron2.modeling"), ("timm", "timm")):
        load(package)
        mark(f"import of {stage}")
    body = load(name)
    mark("import of TokenSeg")
    import tokenseg.engine.loop as loop
    from tokenseg.engine.trainer import Trainer
    for place in (("config", body, "load_config"), ("environment, log", body, "start_logs"),
                  ("test data", loop, "build_evaluation"), ("model, training data", loop, "build_trainer"),
                  ("weights, first iteration", Trainer, "run_step")):
        ends(*place)
    step = Trainer.run_step
    def first(trainer):
        step(trainer)
        sys.stderr.write("\\n" + json.dumps(rows) + "\\n")
        sys.stderr.flush()
        os._exit(0)
    Trainer.run_step = first
    return body
importlib.import_module = load_in_stages
run("train", ["train_net.py", *sys.argv[1:]])
"""


def cases(args: argparse.Namespace) -> dict[str, Callable[[], "Start"]]:
    checkouts = {"this checkout": ROOT} | ({str(args.checkout): args.checkout} if args.checkout else {})
    return {"training": lambda: Start(checkouts=checkouts, config=args.config_file, overrides=args.overrides)}


@dataclass(frozen=True)
class Start:
    """The start of a training.

    Attributes:
        checkouts: The checkouts to compare, by name.
        config: The config of the training.
        overrides: The overrides of the config.
    """

    checkouts: dict[str, Path]
    config: str
    overrides: list[str]

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Return a row for each stage with the medians over the rounds; a first round is not counted."""
        times = {name: [] for name in self.checkouts}
        for number in tqdm(range(rounds + 1), unit="round", leave=False, disable=None):
            for name, checkout in self.checkouts.items():
                stages = self._start(checkout, clock.device.type)
                if number:
                    times[name].append(stages)
        return [row for name, runs in times.items() for row in _rows(name, runs)]

    def _start(self, checkout: Path, device: str) -> list[list]:
        """Start one training and return its stages: [name, wall seconds, CPU seconds] each."""
        # This process has set these variables for its child processes; the training must set them itself.
        ours = {name for _, name, _ in KEPT}
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        with tempfile.TemporaryDirectory() as folder:
            words = ["--config-file", self.config, *self.overrides, f"train.output_dir={folder}/run"]
            # The time starts here, so it includes the start of Python itself.
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(time.time()), *words, f"train.device={device}"],
                env=environment | {"PYTHONPATH": str(checkout / "projects")},
                capture_output=True,
                text=True,
            )
        if done.returncode:
            sys.stderr.write(done.stderr)
            raise ChildProcessError(f"the training of {checkout} did not start; see the error above")
        return json.loads(done.stderr.strip().splitlines()[-1])


def _rows(name: str, runs: list[list[list]]) -> list[dict]:
    """Return the medians of every stage of a checkout, and of their sum."""
    by_stage = {stage: [run[place][1:] for run in runs] for place, (stage, *_) in enumerate(runs[0])}
    by_stage["all"] = [[sum(stage[1] for stage in run), sum(stage[2] for stage in run)] for run in runs]
    return [
        {"checkout": name, "stage": stage}
        | {what: statistics.median(pair[place] for pair in pairs) for place, what in enumerate(("s", "CPU s"))}
        for stage, pairs in by_stage.items()
    ]
