"""Measurement of the time that each part of a run takes."""

import contextlib
import functools
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ._runs import Clock, Run

REST = "rest"


@dataclass(frozen=True)
class Profile:
    """The seconds of each part of a run, forward and backward.

    Attributes:
        run: The function that runs once.
        parts: The members of each part, by the name of the part. Members are modules, or functions, given as their
            owner and the name of the attribute. The time of a part inside another is not counted for the outer one.
            Time outside of all parts counts as `rest`.
    """

    run: Run
    parts: Mapping[str, Sequence[nn.Module | tuple[object, str]]]

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Return a row for each part and one for all: medians over the rounds, and the share of the total time."""
        self.run()
        watch, laps = Stopwatch(clock), []
        with watch.watching(self.parts):
            for _ in tqdm(range(rounds), unit="round", leave=False, disable=None):
                watch.start()
                self.run()
                laps.append(watch.stop())
        whole = statistics.median(lap.total() for lap in laps)
        rows = []
        for name in (*self.parts, REST):
            seconds = {phase: statistics.median(lap[name, phase] for lap in laps) for phase in ("forward", "backward")}
            rows.append({"part": name, **{f"{k} s": v for k, v in seconds.items()}})
        rows.append({"part": "all", **{k: sum(row[k] for row in rows) for k in ("forward s", "backward s")}})
        return [row | {"share %": 100 * (row["forward s"] + row["backward s"]) / whole} for row in rows]


class Stopwatch:
    """Adds the passing time to the part that is running.

    The backward pass of a part begins with the gradient of one of its outputs. It ends when the gradients of all its
    inputs have been computed, or when the backward pass of another part begins.
    """

    def __init__(self, clock: Clock) -> None:
        """
        Args:
            clock: The clock to read.
        """
        self.clock = clock
        self.start()

    def start(self) -> None:
        """Reset all times; no part is running."""
        self.seconds: Counter = Counter()
        self.current, self.since = (REST, "forward"), self.clock.now()
        self.call: set | None = None  # identifies the call whose backward pass is running

    def stop(self) -> Counter:
        """Return the seconds since the start, by (part, `forward` or `backward`)."""
        self._switch(self.current)
        return self.seconds

    def _switch(self, current: tuple[str, str]) -> None:
        now = self.clock.now()
        self.seconds[self.current] += now - self.since
        self.current, self.since = current, now

    @contextlib.contextmanager
    def watching(self, parts: Mapping[str, Sequence[nn.Module | tuple[object, str]]]) -> Iterator[None]:
        """Measure all members of the parts inside this context."""
        with contextlib.ExitStack() as stack:
            for name, members in parts.items():
                for member in members:
                    owner, attribute = (member, "forward") if isinstance(member, nn.Module) else member
                    stack.enter_context(self._watching(name, owner, attribute))
            yield

    @contextlib.contextmanager
    def _watching(self, name: str, owner: object, attribute: str) -> Iterator[None]:
        function, is_own = getattr(owner, attribute), attribute in vars(owner)
        setattr(owner, attribute, self._watched(name, function))
        try:
            yield
        finally:
            if is_own:
                setattr(owner, attribute, function)
            else:
                delattr(owner, attribute)

    def _watched(self, name: str, function: Callable) -> Callable:
        def watched(*args: object, **kwargs: object) -> object:
            outer = self.current
            self._switch((name, "forward"))
            outputs = function(*args, **kwargs)
            self._switch(outer)
            if torch.is_grad_enabled():
                self._watch_backward(name, outer[0], list(_tensors([args, kwargs])), list(_tensors(outputs)))
            return outputs

        return watched

    def _watch_backward(self, name: str, outer: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        waiting = {id(x) for x in inputs}

        def enter(_: Tensor) -> None:
            self._switch((name, "backward"))
            self.call = waiting

        def leave(key: int, _: Tensor) -> None:
            waiting.discard(key)
            if not waiting and self.call is waiting:
                self._switch((outer, "backward"))

        for x in outputs:
            x.register_hook(enter)
        for key, x in {id(x): x for x in inputs}.items():
            x.register_hook(functools.partial(leave, key))


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors that require gradients, from nested containers."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
