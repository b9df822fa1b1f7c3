"""What a benchmark runs, and the clock it runs by."""

import ctypes
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tokenseg.engine.devices import process_memory

# One call is one run; what it returns is compared.
Run = Callable[[], object]

# Under which name a training step returns its gradients.
GRADIENTS = "gradients"


class Clock:
    """Seconds of work: CPU time of the process, which others on the machine hardly touch; wall time between
    synchronisations on a GPU, and where several threads share the work."""

    def __init__(self, device: torch.device) -> None:
        """
        Args:
            device: The device that works.
        """
        self.device = device
        self.is_cpu_time = device.type == "cpu" and torch.get_num_threads() == 1

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.is_cpu_time else time.perf_counter()

    def seconds(self, run: Run) -> float:
        """How long one run takes."""
        start = self.now()
        run()
        return self.now() - start


def inference(forward: Callable[[], object]) -> Run:
    """A run of `forward` without gradients; its result is compared."""

    def run() -> object:
        with torch.no_grad():
            return forward()

    return run


def training_step(loss: Callable[[], Tensor], parameters: Iterable[Tensor]) -> Run:
    """A run of forward and backward pass, without the optimiser's step; the loss is compared, and all gradients as one.

    Args:
        loss: A function that computes a scalar loss.
        parameters: the same on both sides, or in the same order.
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
    """MiB of a GPU's tensors, or of the whole process."""

    peak: float  # at the worst moment of a run
    before: float  # before it: the model and, of a process, its libraries


def peak_memory(run: Run, device: torch.device) -> Memory:
    """The memory of two runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / 2**20
        for _ in range(2):
            run()
        return Memory(torch.cuda.max_memory_allocated(device) / 2**20, before)
    # What building the model has left goes back to the system, if the C library can do so, and its peak is forgotten.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = process_memory("VmRSS") / 2**20
    for _ in range(2):
        run()
    return Memory(process_memory("VmHWM") / 2**20, before)
