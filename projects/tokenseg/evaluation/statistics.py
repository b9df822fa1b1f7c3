"""How sure a difference is: over seeds by Student's t, over the images of a data set by the bootstrap.

What both leave open: an interval over seeds says how training varies on these images, one over images how the result of
these weights varies with the images. Neither is corrected for many comparisons; of twenty intervals at 95 % about one
misses the truth.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from .image_counts import ImageCounts

CONFIDENCE = 0.95
# Rows of weights that are drawn at a time; with 2,000 images they take 8 MB.
_CHUNK = 500


class Interval(NamedTuple):
    """An estimate with the bounds that hold it at a confidence."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval of a difference says: `above`, `below`, or `cannot be told` where it holds zero."""
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "cannot be told"


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard deviation of the sample (n - 1 in the denominator), which is NaN for one value.

    Args:
        values: One or more numbers.
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def paired_difference(
    baseline: Mapping[int, float], other: Mapping[int, float], *, confidence: float = CONFIDENCE
) -> Interval:
    """The mean difference of two groups of runs over seeds that both have, with its interval by Student's t.

    The same seed gives both runs the same samples, so the differences of pairs spread less than the groups. The
    interval assumes that they are spread normally, which three of them cannot show. One pair bounds nothing: its
    interval is everything.

    Args:
        baseline: Seed -> the metric of the run with that seed.
        other: The same of the group that is compared with it.
        confidence: The share of such intervals that hold the true difference.

    Returns:
        Other minus baseline.

    Raises:
        ValueError: There are no seeds, or one group lacks a seed of the other.
    """
    if not baseline or baseline.keys() != other.keys():
        raise ValueError(
            f"seeds are {_listed(baseline)} in the one group and {_listed(other)} in the other; wanted the same ones"
        )
    mean, spread = mean_and_spread([other[seed] - baseline[seed] for seed in sorted(baseline)])
    count = len(baseline)
    if count == 1:
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * spread / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def _listed(seeds: Mapping[int, float]) -> str:
    return ", ".join(map(str, sorted(seeds))) or "none"


def bootstrap_over_images(
    groups: Sequence[Sequence[ImageCounts]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[tuple[Interval, Interval]]:
    """Each group's mIoU, and what it is above the first group's, with percentile intervals of the bootstrap.

    A resample draws as many images as there are, with replacement, the same ones for all groups. The mIoU is that of
    the whole resample, over the classes that its ground truth holds; a group of several runs has their mean.

    Args:
        groups: The counts of one or more evaluations of each group, all of the same images.
        resamples: The number of resamples.
        seed: The seed of the draws.
        confidence: The share of the resamples that lies in the interval.

    Returns:
        For each group the interval of its mIoU in per cent, and that of its difference from the first group's.

    Raises:
        ValueError: Evaluations are of other images, label maps or classes.
    """
    first = groups[0][0]
    for counts in (counts for group in groups for counts in group):
        _check_alike(first, counts)
    observed = np.array([np.mean([counts.mean_iou() for counts in group]) for group in groups])
    drawn = np.concatenate(
        [
            [np.mean([counts.mean_iou(weights) for counts in group], axis=0) for group in groups]
            for weights in _weights(len(first.images), resamples, seed)
        ],
        axis=1,
    )
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]

    def interval(value: float, values: np.ndarray) -> Interval:
        return Interval(float(value), *map(float, np.nanquantile(values, tails)))

    return [
        (interval(value, values), interval(value - observed[0], values - drawn[0]))
        for value, values in zip(observed, drawn, strict=True)
    ]


def _weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `count` images is drawn, in chunks of rows that sum to `count`."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(_CHUNK, resamples - start))


def _check_alike(one: ImageCounts, other: ImageCounts) -> None:
    if list(one.classes) != list(other.classes):
        raise ValueError(f"evaluations are of {len(one.classes)} and {len(other.classes)} classes; wanted the same")
    if not len(one.images) or list(one.images) != list(other.images):
        raise ValueError(
            f"evaluations are of {len(one.images)} and {len(other.images)} images; wanted one or more, the same in both"
        )
    changed = (one.labelled != other.labelled).any(axis=1)
    if changed.any():
        raise ValueError(
            f"the label maps of two evaluations differ, first {one.images[changed.argmax()]}; wanted the same data set"
        )
