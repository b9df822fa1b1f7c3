"""Runs that are killed at a chosen moment, and the results that they leave, for tests of the loop."""

import functools
import hashlib
import os
import traceback

import torch

from tokenseg.engine import loop
from tokenseg.engine.launchers import Place
from tokenseg.engine.metrics_file import read_metrics
from tokenseg.engine.processes import free_meeting, group
from tokenseg.engine.stopping import StopRequest

# The scalars of a row that depend on a clock.
CLOCKS = {"time", "data_time", "rank_data_time", "eta_seconds"}


def averages(checkpoint):
    """The averaged weights of a checkpoint, if it has any, under names that differ from those of the weights."""
    return {f"average of {key}": value for key, value in checkpoint.get("ema", {}).get("model", {}).items()}


def left_behind(folder):
    """The results of a run in its folder, without values that depend on a clock."""
    checkpoints = {path.name: torch.load(path) for path in sorted(folder.glob("*.pth"))}
    best = checkpoints["model_best.pth"]
    return {
        "weights": {
            f"{key} of {name}": hashlib.sha256(value.numpy().tobytes()).hexdigest()
            for name, content in checkpoints.items()
            for key, value in [*content["model"].items(), *averages(content).items()]
        },
        "best": (best["iteration"], best["trainer"]["iteration"], best["best_value"]),
        "iterations": {name: (c["iteration"], c["trainer"]["iteration"]) for name, c in checkpoints.items()},
        "rows": [
            {key: value for key, value in row.items() if key not in CLOCKS}
            for row in read_metrics(folder / "metrics.json")
        ],
        "files": sorted(path.name for path in folder.iterdir() if "tfevents" not in path.name),
    }


def forked(work):
    """Start a function in a new process, and return the process id."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def exit_code(child):
    """Wait until a process has ended, and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(config, patch):
    """Train in a new process that ends abruptly, as by kill -9, where `patch` makes it end; return its exit code."""

    def work():
        patch()
        loop.train(config, resume=True)

    return exit_code(forked(work))


def in_two(work):
    """Run a function in two processes of one run, and return their exit codes."""
    meeting = free_meeting()

    def in_group(rank):
        with StopRequest() as stop, group(Place(rank, 2, rank, 2, meeting), device="cpu", stop=stop):
            work()

    return [exit_code(child) for child in [forked(functools.partial(in_group, rank)) for rank in range(2)]]


def at_call(owner, name, number, *, after=False):
    """Create a patch that ends the process before, or after, the n-th call of a method."""

    def patch():
        original, calls = getattr(owner, name), iter(range(1, 100))

        def method(*args, **options):
            last = next(calls) == number
            if last and not after:
                os._exit(9)
            result = original(*args, **options)
            if last:
                os._exit(9)
            return result

        setattr(owner, name, method)

    return patch


def in_write_of(name):
    """Create a patch that ends the process when half of a checkpoint has been written."""

    def patch():
        original = torch.save

        def save(data, path):
            original(data, path)
            if os.path.basename(path).startswith(name):
                os.truncate(path, os.path.getsize(path) // 2)
                os._exit(9)

        torch.save = save

    return patch
