"""Comparison of our implementation with another one, the rival, whose outputs must be equal."""

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
    """Two implementations with equal outputs, whose speeds are compared in alternating runs.

    Attributes:
        ours: The function that runs our side once and returns tensors or numbers, which may be in dicts and lists.
        rival: The same function of the rival.
        tolerance: The largest accepted difference of an output: the norm of the difference, relative to the rival's.
        gradient_tolerance: The same for the gradients of `training_step`, in which the rounding of all layers adds up.
    """

    ours: Run
    rival: Run
    tolerance: float = 1e-5
    gradient_tolerance: float = 1e-4

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Measure both sides and return one row.

        Raises:
            ValueError: The outputs differ.
        """
        worst = self._check()
        return [in_turns(clock, rounds, ours=self.ours, rival=self.rival) | {"difference": worst}]

    def _check(self) -> float:
        """Compare the outputs and return the largest difference."""
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
    """Run two sides alternately, and compute the ratio of their times for every pair of runs.

    Args:
        clock: The clock.
        rounds: The number of pairs.
        ours: The function that runs our side once.
        rival: The function that runs the rival once.

    Returns:
        The median seconds of both sides, and the median of the ratio, `times faster`, with its least and largest value.
    """
    sides, times = {"ours": ours, "rival": rival}, {"ours": [], "rival": []}
    for place in tqdm(range(rounds), unit="pair", leave=False, disable=None):
        # The order alternates, so that no side always runs with the caches that the other has filled.
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
    """Compare the outputs of two sides.

    Yields:
        The relative difference of every output, and its name in the dicts. The tensors of a list count as one vector.
        A difference that is not finite becomes infinity.

    Raises:
        ValueError: The structures or shapes of the outputs differ.
    """
    if isinstance(ours, Mapping) and isinstance(rival, Mapping):
        if ours.keys() != rival.keys():
            raise ValueError(f"outputs differ: only one side has {', '.join(ours.keys() ^ rival.keys())}")
        for key in ours:
            yield from differences(ours[key], rival[key], f"{where}.{key}".strip("."))
        return
    if isinstance(ours, Mapping) or isinstance(rival, Mapping):
        raise ValueError(
            f"outputs differ: {where} is a {type(ours).__name__} of ours, and a {type(rival).__name__} of the rival"
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
    """Copy outputs, so that the next run cannot change them."""
    if isinstance(outputs, Mapping):
        return {key: _copied(value) for key, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return [_copied(value) for value in outputs]
    return outputs.detach().clone() if isinstance(outputs, Tensor) else outputs
