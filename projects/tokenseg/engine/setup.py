"""What a run needs before it begins: device, threads, output folder, logs, and a record of config and environment."""

import importlib.metadata
import logging
import os
import subprocess

import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig
from torch import nn

from ..inference.policy import MultiScale

logger = logging.getLogger(__name__)

_AMP_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> str:
    """`cpu` or `cuda` for `auto`, `cpu` or `cuda`.

    Raises:
        ValueError: another name, or `cuda` where torch finds no GPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"train.device is '{name}'; wanted auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is cuda, but torch finds no GPU; wanted train.device=auto or cpu here")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def amp_dtype(config: DictConfig, device: str) -> torch.dtype | None:
    """Type of mixed precision that `train.amp` asks for, None when it is off.

    Raises:
        ValueError: an unknown type, or float16 on the CPU.
    """
    if config.dtype not in _AMP_TYPES:
        raise ValueError(f"train.amp.dtype is '{config.dtype}'; wanted {' or '.join(_AMP_TYPES)}")
    if config.enabled and config.dtype == "float16" and device == "cpu":
        raise ValueError("train.amp.dtype is float16, which needs a GPU; wanted bfloat16 on the CPU")
    return _AMP_TYPES[config.dtype] if config.enabled else None


def build_model(config: DictConfig) -> nn.Module:
    """The model of a config on its device, averaging over scales and flips in inference if `train.tta` says so."""
    model = instantiate(config.model).to(resolve_device(config.train.device))
    tta = config.train.tta
    if tta.enabled:
        model.inference = MultiScale(policy=model.inference, scales=tta.scales, flip=tta.flip)
    return model


def share_threads(processes: int) -> None:
    """Share the cores out over the processes of this machine, unless OMP_NUM_THREADS says otherwise.

    Processes that use every core each are many times slower than processes that share them.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))


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


def start_logs(config: DictConfig, *, training: bool, arguments: object) -> None:
    """Start the loggers of this process and, in training, leave `config.yaml` and `environment.txt` behind."""
    output_dir, rank = config.train.output_dir, comm.get_rank()
    for name in ("detectron2", "fvcore", "tokenseg"):
        setup_logger(output_dir, distributed_rank=rank, name=name)
    logger.info("Process %d of %d; command line: %s", rank, comm.get_world_size(), arguments)
    environment = collect_env_info()
    logger.info("Environment:\n%s", environment)
    if training and comm.is_main_process():
        LazyConfig.save(config, os.path.join(output_dir, "config.yaml"))
        with open(os.path.join(output_dir, "environment.txt"), "w") as file:
            file.write(f"{environment}\n\ncommit: {_git_commit()}\n\n{_packages()}\n")
    seed_all_rng(config.train.seed + rank)


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
