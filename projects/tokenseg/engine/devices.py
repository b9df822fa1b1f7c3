"""The device of a run, and the number of threads in each of its processes."""

import os
from pathlib import Path

import torch


def resolve_device(name: str) -> str:
    """Resolve `auto`, `cpu` or `cuda` to `cpu` or `cuda`.

    Raises:
        ValueError: The name is unknown, or it is `cuda` and torch finds no GPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"train.device is '{name}'; wanted auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is cuda, but torch finds no GPU; wanted train.device=auto or cpu here")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def share_threads(processes: int) -> None:
    """Divide the cores among the processes of this machine, unless OMP_NUM_THREADS is set.

    Processes that each use all cores get in one another's way and are many times slower than processes with a share.

    Args:
        processes: The number of processes on this machine.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))


def device_name(name: str) -> str:
    """Describe a device, named as in `resolve_device`, by its type and, for a GPU, its model: `cuda, NVIDIA H200`."""
    device = resolve_device(name)
    return f"cuda, {torch.cuda.get_device_name()}" if device == "cuda" else device


def process_memory(entry: str) -> int | None:
    """Return the main memory that this process uses, in bytes, or None on a system without /proc.

    Args:
        entry: `VmRSS` for the memory that is in use now, or `VmHWM` for the peak so far.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    # `getrusage` is not used, since a process inherits its peak from the parent process.
    return int(status.partition(f"{entry}:")[2].split()[0]) * 2**10 if f"{entry}:" in status else None
