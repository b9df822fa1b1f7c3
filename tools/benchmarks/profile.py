"""Measure the share of each kind of operation in a training step of each method, with torch's profiler.

A step is the forward and backward pass of a batch at `--size`, in single precision or, with `--amp`, in mixed
precision. `losses` contains all operations of the losses, of any kind, but not those of the head that the losses call.
`copies` are operations that move numbers without computing: copies into another memory order, concatenations, padding
and rolls. A row has the percentage of each kind, and the largest operation among the copies. Overrides change the
configs.
"""

import argparse
import contextlib
import functools
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from tokenseg.hosts.auxiliary import AuxiliaryHead
from tokenseg.segmentor import Segmentor

from ._methods import CONFIGS, built
from ._runs import Clock, Run, training_step

# Parts of the names of operations, by kind. The first matching kind counts, and an operation without a match is
# arithmetic.
KINDS = {
    "attention": ("scaled_dot_product", "flash_attention", "efficient_attention"),
    "products": ("mm", "conv", "linear", "matmul", "embedding_bag", "grid_sampler"),
    "normalisation": ("norm",),
    "resize": ("upsample", "adaptive_avg_pool"),
    "copies": ("copy", "clone", "contiguous", "cat", "pad", "roll", "repeat", "im2col"),
    "softmax": ("softmax",),
}
REST, LOSSES = "arithmetic", "losses"
_RANGE = "tokenseg.losses"


def cases(args: argparse.Namespace) -> dict[str, Callable[[], "Kinds"]]:
    return {name: functools.partial(_kinds, args, name) for name in CONFIGS}


@dataclass(frozen=True)
class Kinds:
    """The shares of kinds of operations in a run.

    Attributes:
        run: The function that runs one training step.
        model: The model, whose losses are counted separately.
    """

    run: Run
    model: Segmentor

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Return one row with the seconds of a step and the percentage of each kind."""
        self.run()
        step = statistics.median(clock.seconds(self.run) for _ in range(rounds))
        seconds: Counter[tuple[str, str]] = Counter()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if clock.device.type == "cuda" else [])]
        with _losses_marked(self.model), profile(activities=activities) as profiler:
            for _ in range(rounds):
                self.run()
        for kind, name, took in attributed(profiler.events(), on_gpu=clock.device.type == "cuda"):
            seconds[kind, name] += took
        whole = sum(seconds.values())
        kinds = (*KINDS, LOSSES, REST)
        shares = {kind: 100 * sum(v for (k, _), v in seconds.items() if k == kind) / whole for kind in kinds}
        copies = Counter({name: took for (kind, name), took in seconds.items() if kind == "copies"})
        name, took = copies.most_common(1)[0] if copies else ("-", 0.0)
        return [{"s/step": step, **shares, "largest copy": f"{name.removeprefix('aten::')} {100 * took / whole:.1f}"}]


def _kinds(args: argparse.Namespace, name: str) -> Kinds:
    model, loss = built(args, name)
    return Kinds(run=training_step(lambda: loss(model), model.parameters()), model=model)


def attributed(events: list[FunctionEvent], *, on_gpu: bool) -> Iterator[tuple[str, str, float]]:
    """Yield the kind, the name and the own time of each event; the backward pass of the losses belongs to the losses.

    Args:
        events: The events of a profile.
        on_gpu: Whether to return the time of GPU kernels instead of CPU time. The profile lists a kernel twice,
            with the operation of the CPU that launched it, and as an event of the GPU, which is left out.
    """
    events = [event for event in events if event.device_type == DeviceType.CPU]
    forward = {event.sequence_nr for event in events if event.sequence_nr >= 0 and _is_within(event, _marks_losses)}
    for event in events:
        took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        backward = functools.partial(_goes_back, forward)
        lost = _is_within(event, _marks_losses) or _is_within(event, backward)
        yield LOSSES if lost else _kind(event.name), event.name, took


def _kind(name: str) -> str:
    plain = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in plain for part in parts)), REST)


def _is_within(event: FunctionEvent | None, fits: Callable[[FunctionEvent], bool]) -> bool:
    while event is not None:
        if fits(event):
            return True
        event = event.cpu_parent
    return False


def _marks_losses(event: FunctionEvent) -> bool:
    return event.name == _RANGE


def _goes_back(forward: set[int], event: FunctionEvent) -> bool:
    return event.name.startswith("autograd::engine::evaluate_function") and event.sequence_nr in forward


@contextlib.contextmanager
def _losses_marked(model: Segmentor) -> Iterator[None]:
    """Make all losses of a model ranges of the profile inside this context."""
    owners = [(module, "pixel_cross_entropy") for name, module in sys.modules.items() if name.startswith("tokenseg.")]
    owners = [pair for pair in owners if pair[1] in vars(pair[0])]
    extra = [loss for loss in model.extra_losses.values() if not isinstance(loss, AuxiliaryHead)]
    criteria = [module for module in model.modules() if type(module).__module__.startswith("tokenseg.losses")]
    owners += [(module, "forward") for module in {*extra, *criteria}]
    before = [(owner, name, getattr(owner, name), name in vars(owner)) for owner, name in owners]
    for owner, name, function, _ in before:
        setattr(owner, name, _marked(function))
    try:
        yield
    finally:
        for owner, name, function, own in before:
            if own:
                setattr(owner, name, function)
            else:
                delattr(owner, name)


def _marked(function: Callable) -> Callable:
    def marked(*args: object, **kwargs: object) -> object:
        with record_function(_RANGE):
            return function(*args, **kwargs)

    return marked
