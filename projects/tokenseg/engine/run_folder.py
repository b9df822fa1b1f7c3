"""The output folder of a run, and what a run leaves there beside checkpoints: its config and its environment."""

import importlib.metadata
import os
import subprocess

from detectron2.config import LazyConfig
from omegaconf import DictConfig


def make_output_dir(path: str, *, resume: bool, training: bool, overwrite: bool) -> None:
    """Make the output folder.

    Raises:
        ValueError: it cannot be written, or a fresh training would overwrite the checkpoints of an earlier one.
    """
    try:
        os.makedirs(path, exist_ok=True)
        probe = os.path.join(path, f".writable-{os.getpid()}")
        with open(probe, "w"):
            pass
        os.remove(probe)
    except OSError as error:
        raise ValueError(f"train.output_dir '{path}' cannot be written: {error}") from error
    last = os.path.join(path, "last_checkpoint")
    if not training or resume or not os.path.exists(last):
        return
    if overwrite:
        os.remove(last)  # else a crash before the first checkpoint would leave --resume to go on with the earlier run
    else:
        raise ValueError(
            f"train.output_dir '{path}' holds the checkpoints of an earlier run; wanted --resume to go on with it, "
            "another train.output_dir, or train.overwrite=true"
        )


def write_record(config: DictConfig, environment: str) -> None:
    """Write `config.yaml` and `environment.txt` into the output folder of a config."""
    output_dir = config.train.output_dir
    LazyConfig.save(config, os.path.join(output_dir, "config.yaml"))
    with open(os.path.join(output_dir, "environment.txt"), "w") as file:
        file.write(f"{environment}\n\ncommit: {_git_commit()}\n\n{_packages()}\n")


def _packages() -> str:
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower))


def _git_commit() -> str:
    """Commit of the checkout that the package lies in, with a mark for uncommitted changes."""
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
