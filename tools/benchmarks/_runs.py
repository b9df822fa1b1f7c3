"""The runs of benchmarks, and the measurement of their time and memory."""

import ctypes
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tokenseg.engine.devices import process_memory

# A function that runs once; its results are compared.
Run = Callable[[], object]

# The name under which a training step returns its gradients.
GRADIENTS = "gradients"


class Clock:
    """Measures the seconds of a run.

    With one CPU thread, it measures CPU time, which other processes on the machine hardly influence. With several
    threads or a GPU, it measures wall time, on a GPU between synchronisations.
    """

    def __init__(self, device: torch.device) -> None:
        """
        Args:
            device: The device on which runs are measured.
        """
        self.device = device
        self.is_cpu_time = device.type == "cpu" and torch.get_num_threads() == 1

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.is_cpu_time else time.perf_counter()

    def seconds(self, run: Run) -> float:
        """Measure the seconds of one run."""
        start = self.now()
        run()
        return self.now() - start


def inference(forward: Callable[[], object]) -> Run:
    """Return a function that runs `forward` without gradients and returns its result."""

    def run() -> object:
        with torch.no_grad():
            return forward()

    return run


def training_step(loss: Callable[[], Tensor], parameters: Iterable[Tensor]) -> Run:
    """Return a function that runs forward and backward pass, without an optimiser, and returns loss and gradients.

    Args:
        loss: The function that computes a scalar loss.
        parameters: The tensors whose gradients are returned; in the same order for both sides of a comparison.
    """
    parameters = list(parameters)

    def run() -> dict[str, object]:
        for parameter in parameters:
            parameter.grad = None
        value = loss()
        value.backward()
        return {"loss": value.detach(), GRADIENTS: [parameter.grad for parameter in parameters]}

    return run


class Memory(NamedTuple):
    """The MiB of all tensors on a GPU or, on the CPU, of the whole process."""

    peak: float  # the maximum during a run
    before: float  # before the run: the model and, on the CPU, the libraries of the process


def peak_memory(run: Run, device: torch.device) -> Memory:
    """Measure the memory of two runs in a row."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / 2**20
        for _ in range(2):
            run()
        return Memory(torch.cuda.max_memory_allocated(device) / 2**20, before)
    # Return the memory freed after building the model to the system, if the C library can do this, and reset the peak.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = process_memory("VmRSS") / 2**20
    for _ in range(2):
        run()
    return Memory(process_memory("VmHWM") / 2**20, before)
