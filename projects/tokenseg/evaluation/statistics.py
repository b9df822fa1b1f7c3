"""Confidence intervals of differences: over seeds by Student's t, and over the images of a data set by the bootstrap.

Each covers only one source of variation. An interval over seeds describes how results vary between trainings, evaluated
on the same images. An interval over images describes how the result of the same weights varies with the images. Neither
is corrected for multiple comparisons: on average, one in twenty intervals at 95 % misses the true value.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from .image_counts import ImageCounts

CONFIDENCE = 0.95
# The number of resamples that are drawn at a time; with 2,000 images their weights take 8 MB.
_CHUNK = 500


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """The sign of a difference, `above` or `below`, or `cannot be told` if the interval contains zero."""
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "cannot be told"


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Compute the mean and the sample standard deviation (n - 1 in the denominator), which is NaN for one value.

    Args:
        values: The numbers, at least one.
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def paired_difference(
    baseline: Mapping[int, float], other: Mapping[int, float], *, confidence: float = CONFIDENCE
) -> Interval:
    """Compute the mean difference of two groups of runs, paired by seed, with its interval by Student's t.

    Runs with the same seed see the same samples, so the differences of pairs vary less than the runs of a group. The
    interval assumes that the differences are normally distributed, which cannot be verified with three of them. The
    interval of a single pair is infinite.

    Args:
        baseline: The metric of each run of the first group, by seed.
        other: The metric of each run of the second group, by seed.
        confidence: The probability with which the interval contains the true difference.

    Returns:
        The mean of `other` minus `baseline`.

    Raises:
        ValueError: There are no seeds, or one group lacks a seed of the other.
    """
    if not baseline or baseline.keys() != other.keys():
        raise ValueError(
            f"seeds are {_listed(baseline)} in the one group and {_listed(other)} in the other; wanted equal seeds"
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
    """Compute the mIoU of each group and its difference from the first group, with percentile bootstrap intervals.

    A resample draws as many images as there are, with replacement, and the same images for all groups. The mIoU is
    computed from all pixels of a resample, over the classes that occur in its ground truth. The value of a group is the
    mean of its runs.

    Args:
        groups: The counts of one or more evaluations for each group, all on the same images.
        resamples: The number of resamples.
        seed: The seed of the random numbers.
        confidence: The share of the resamples that lie in the interval.

    Returns:
        For each group the interval of its mIoU in per cent, and that of its difference from the first group.

    Raises:
        ValueError: The evaluations differ in their images, label maps or classes.
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
    """Yield how often each of `count` images is drawn, as chunks of rows; each row is one resample."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(_CHUNK, resamples - start))


def _check_alike(one: ImageCounts, other: ImageCounts) -> None:
    if list(one.classes) != list(other.classes):
        raise ValueError(
            f"evaluations are of {len(one.classes)} and {len(other.classes)} classes; wanted the same classes"
        )
    if not len(one.images) or list(one.images) != list(other.images):
        raise ValueError(
            f"evaluations are of {len(one.images)} and {len(other.images)} images; wanted the same images, at least one"
        )
    changed = (one.labelled != other.labelled).any(axis=1)
    if changed.any():
        raise ValueError(
            f"the label maps of two evaluations differ, first {one.images[changed.argmax()]}; wanted the same data set"
        )
