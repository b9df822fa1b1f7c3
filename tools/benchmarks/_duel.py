"""Ours against a rival, with equal outputs."""

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from ._runs import GRADIENTS, Clock, Run


@dataclass(frozen=True)
class Duel:
    """Two ways to the same outputs; how many times faster ours is, as the median over interleaved pairs.

    ours, rival: run once and return tensors, alone or in dicts and lists; numbers count too.
    tolerance: how far each output may differ: the norm of the difference over that of the rival's.
    gradient_tolerance: likewise, of `training_step`'s gradients, to which rounding of every layer adds.
    """

    ours: Run
    rival: Run
    tolerance: float = 1e-5
    gradient_tolerance: float = 1e-4

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """A row; raises ValueError where outputs differ."""
        worst = self._check()
        return [in_turns(clock, rounds, ours=self.ours, rival=self.rival) | {"difference": worst}]

    def _check(self) -> float:
        """The largest difference of an output."""
        worst, ours = 0.0, _copied(self.ours())
        for difference, where in differences(ours, self.rival()):
            allowed = self.gradient_tolerance if where == GRADIENTS else self.tolerance
            if difference > allowed:
                raise ValueError(
                    f"outputs differ: {where or 'the output'} by {difference:.2g} of its norm; wanted <= {allowed:g}"
                )
            worst = max(worst, difference)
        return worst


def in_turns(clock: Clock, rounds: int, *, ours: Run, rival: Run) -> dict[str, float]:
    """The seconds of two sides that run in turns, and how many times faster ours is: the median over the pairs.

    Args:
        clock: The clock.
        rounds: The number of pairs.
        ours: One run of our side.
        rival: One run of the rival.
    """
    sides, times = {"ours": ours, "rival": rival}, {"ours": [], "rival": []}
    for place in tqdm(range(rounds), unit="pair", leave=False, disable=None):
        # who runs first changes, so that neither always finds the other's caches
        for side in ("rival", "ours") if place % 2 else ("ours", "rival"):
            times[side].append(clock.seconds(sides[side]))
    ratios = [theirs / own for own, theirs in zip(*times.values(), strict=True)]
    return {
        "ours s": statistics.median(times["ours"]),
        "rival s": statistics.median(times["rival"]),
        "times faster": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def differences(ours: object, rival: object, where: str = "") -> Iterator[tuple[float, str]]:
    """(relative difference, where) of every tensor, those of a list as one vector; infinite where one is not finite.

    Raises:
        ValueError: outputs of different structure or shape.
    """
    if isinstance(ours, Mapping) and isinstance(rival, Mapping):
        if ours.keys() != rival.keys():
            raise ValueError(f"outputs differ: only one side has {', '.join(ours.keys() ^ rival.keys())}")
        for key in ours:
            yield from differences(ours[key], rival[key], f"{where}.{key}".strip("."))
        return
    if isinstance(ours, Mapping) or isinstance(rival, Mapping):
        raise ValueError(
            f"outputs differ: {where} is {type(ours).__name__} of ours, {type(rival).__name__} of the rival"
        )
    ours, rival = (each if isinstance(each, (list, tuple)) else [each] for each in (ours, rival))
    shapes = [[None if x is None else tuple(torch.as_tensor(x).shape) for x in each] for each in (ours, rival)]
    if shapes[0] != shapes[1]:
        odd = [pair for pair in itertools.zip_longest(*shapes) if pair[0] != pair[1]]
        raise ValueError(f"outputs differ: {where} has shapes (ours, the rival's) {str(odd)[:300]}")
    pairs = [(x, y) for x, y in zip(ours, rival, strict=True) if x is not None]
    pairs = [tuple(torch.as_tensor(each).detach().double() for each in pair) for pair in pairs]
    distance = sum(float((x - y).square().sum()) for x, y in pairs) ** 0.5
    size = sum(float(y.square().sum()) for _, y in pairs) ** 0.5
    relative = distance / size if distance and size else distance
    yield (relative if math.isfinite(relative) else math.inf, where)


def _copied(outputs: object) -> object:
    """Outputs that the next run cannot change."""
    if isinstance(outputs, Mapping):
        return {key: _copied(value) for key, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return [_copied(value) for value in outputs]
    return outputs.detach().clone() if isinstance(outputs, Tensor) else outputs
