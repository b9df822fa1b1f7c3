"""The output folder of a run: who may write there, and what a run leaves beside checkpoints."""

import errno
import fcntl
import functools
import importlib.metadata
import logging
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from detectron2.config import LazyConfig
from detectron2.utils.collect_env import collect_env_info
from omegaconf import DictConfig

from ..atomic_file import replacing
from .checkpoint import numbered_checkpoints

logger = logging.getLogger(__name__)


def make_output_dir(path: str, *, resume: bool, training: bool, overwrite: bool) -> None:
    """Make the output folder. Nothing in it changes yet: `begin_run` does that.

    Args:
        path: The path of the folder.
        resume: Whether the run continues an earlier one.
        training: Whether the run trains, and does not only evaluate.
        overwrite: Whether a fresh training may overwrite the checkpoints of an earlier one.

    Raises:
        ValueError: The folder cannot be written, or a fresh training would overwrite the checkpoints of an earlier one.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"train.output_dir '{path}' cannot be written: {error}") from error
    if training and not resume and not overwrite and _earlier_checkpoints(path):
        raise ValueError(
            f"train.output_dir '{path}' holds the checkpoints of an earlier run; wanted --resume to go on with it, "
            "another train.output_dir, or train.overwrite=true"
        )


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Inside the block no other process may train in a folder; unfinished files that a kill has left there are removed.

    The lock is the kernel's, which releases it when this process ends, however that happens. It belongs to the process
    and not to the open file, for loader processes share their parent's files and outlive it by some seconds.

    Args:
        folder: The path of the folder.

    Raises:
        ValueError: Another process trains there; the text says which.
    """
    with open(os.path.join(folder, "run.lock"), "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                logger.warning("%s cannot be locked (%s): see to it that one run at a time uses it", folder, error)
            else:
                file.seek(0)
                raise ValueError(
                    f"train.output_dir '{folder}' is in use by {file.read().strip() or 'another run'}; wanted another "
                    "train.output_dir, or the end of that run"
                ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
        for path in Path(folder).glob("*.unfinished"):
            path.unlink()
        yield
        file.truncate(0)


def _earlier_checkpoints(folder: str) -> list[Path]:
    """All checkpoints, and before them the file that says where to resume: it has to be deleted first."""
    names = ["last_checkpoint", "model_final.pth", "model_best.pth", *numbered_checkpoints(folder).values()]
    return [path for path in (Path(folder, name) for name in names) if path.exists()]


def begin_run(config: DictConfig, *, fresh: bool) -> None:
    """Take over the output folder, once the run has started well.

    This writes `config.yaml` and `environment.txt`. A fresh training also removes the checkpoints of an earlier one,
    which `make_output_dir` has allowed.

    Args:
        config: The config of the run.
        fresh: Whether the run starts afresh, and does not continue an earlier one.
    """
    folder = config.train.output_dir
    for path in _earlier_checkpoints(folder) if fresh else ():
        path.unlink()
    with replacing(os.path.join(folder, "config.yaml")) as unfinished:
        LazyConfig.save(config, unfinished)
    with replacing(os.path.join(folder, "environment.txt")) as unfinished, open(unfinished, "w") as file:
        file.write(f"{environment()}\n\ncommit: {_git_commit()}\n\n{_packages()}\n")


@functools.cache
def environment() -> str:
    """Versions and devices, as Detectron2 reports them."""
    return collect_env_info()


@functools.cache
def _packages() -> str:
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower))


@functools.cache
def _git_commit() -> str:
    """Commit of the checkout that the package lies in, with a mark for uncommitted changes."""
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
