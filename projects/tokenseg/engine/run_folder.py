"""The output folder of a run: which run may write to it, and the files that a run writes beside its checkpoints."""

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
    """Create the output folder. The files in it stay unchanged until `begin_run` is called.

    Args:
        path: The path of the folder.
        resume: Whether the run continues an earlier one.
        training: Whether the run trains, rather than only evaluates.
        overwrite: Whether a fresh training may overwrite the checkpoints of an earlier one.

    Raises:
        ValueError: The folder is not writable, or a fresh training would overwrite the checkpoints of an earlier one.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"train.output_dir '{path}' cannot be written: {error}") from error
    if training and not resume and not overwrite and _earlier_checkpoints(path):
        raise ValueError(
            f"train.output_dir '{path}' has the checkpoints of an earlier run; wanted --resume to continue it, another "
            "train.output_dir, or train.overwrite=true"
        )


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Inside the block no other process may train in a folder. Unfinished files that a kill left there are removed.

    The kernel releases the lock when this process ends, however it ends. The lock belongs to the process rather than to
    the open file, because loader processes inherit open files and outlive their parent by some seconds.

    Args:
        folder: The path of the folder.

    Raises:
        ValueError: Another process, which the message names, trains in this folder.
    """
    with open(os.path.join(folder, "run.lock"), "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                logger.warning("%s cannot be locked (%s): make sure that only one run at a time uses it", folder, error)
            else:
                file.seek(0)
                raise ValueError(
                    f"train.output_dir '{folder}' is in use by {file.read().strip() or 'another run'}; wanted another "
                    "train.output_dir, or that run to end first"
                ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
        for path in Path(folder).glob("*.unfinished"):
            path.unlink()
        yield
        file.truncate(0)


def _earlier_checkpoints(folder: str) -> list[Path]:
    """List the files of an earlier run in the order in which they have to be deleted.

    `last_checkpoint` comes first, so that it never names a checkpoint that is already deleted.
    """
    names = ["last_checkpoint", "model_final.pth", "model_best.pth", *numbered_checkpoints(folder).values()]
    return [path for path in (Path(folder, name) for name in names) if path.exists()]


def begin_run(config: DictConfig, *, fresh: bool) -> None:
    """Take over the output folder after the first successful step of the run.

    This writes `config.yaml` and `environment.txt`. A fresh training also deletes the checkpoints of an earlier one,
    which `make_output_dir` has permitted.

    Args:
        config: The config of the run.
        fresh: Whether the run starts afresh, rather than continues an earlier one.
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
    """Return Detectron2's report on versions and devices."""
    return collect_env_info()


@functools.cache
def _packages() -> str:
    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower))


@functools.cache
def _git_commit() -> str:
    """Return the commit of this package's checkout, marked `-dirty` if there are uncommitted changes."""
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
