"""Runs that have ended, in named groups, and how sure their differences are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from .config.safe_yaml import read_plain
from .engine.metrics_file import read_metrics
from .evaluation.image_counts import ImageCounts
from .evaluation.statistics import CONFIDENCE, Interval, bootstrap_over_images, mean_and_spread, paired_difference


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a training that has ended.

    Attributes:
        folder: The output folder.
        settings: The section `train` of its config.yaml.
    """

    folder: Path
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "FinishedRun":
        """Read what a run says of itself; nothing in its config.yaml is called.

        Args:
            folder: The output folder.

        Raises:
            ValueError: There is no config.yaml of a training with a seed.
        """
        path = folder / "config.yaml"
        try:
            settings = read_plain(str(path)).get("train")
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path} cannot be read; wanted the folder of a training: {error}") from error
        if not isinstance(settings, dict) or type(settings.get("seed")) is not int:
            raise ValueError(f"{path} has no train.seed; wanted the config.yaml that a training leaves")
        return cls(folder, settings)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def result(self, metric: str) -> float:
        """The metric after the last iteration.

        Args:
            metric: A key of metrics.json.

        Raises:
            ValueError: The run has not ended, or has no such metric.
        """
        path, last = self.folder / "metrics.json", self.settings.get("max_iter")
        rows = [row for row in read_metrics(path) if metric in row]
        if not rows:
            raise ValueError(f"{path} has no {metric}; wanted --metric to be a key of it")
        if isinstance(last, int) and rows[-1]["iteration"] + 1 < last:
            reached = rows[-1]["iteration"] + 1
            raise ValueError(f"{path} has {metric} of iteration {reached}; wanted it of the last one, {last}")
        return rows[-1][metric]


def results_by_seed(name: str, runs: Sequence[FinishedRun], metric: str) -> dict[int, float]:
    """The metric of each run of a group, by its seed.

    Args:
        name: The name of the group, for errors.
        runs: The runs of the group.
        metric: A key of metrics.json.

    Raises:
        ValueError: Two runs have the same seed.
    """
    results: dict[int, float] = {}
    for run in runs:
        if run.seed in results:
            raise ValueError(f"two runs of group {name} have the seed {run.seed}, one of them {run.folder}; wanted one")
        results[run.seed] = run.result(metric)
    return results


def table_over_seeds(groups: Mapping[str, Mapping[int, float]]) -> str:
    """Write a table in Markdown: each group's mean and spread, its seeds, and what it is above the first group.

    Args:
        groups: Name of the group -> the metric by seed; the first group is what the others are compared with.

    Raises:
        ValueError: A group lacks a seed of the first one.
    """
    (baseline, first), *_ = groups.items()
    lines, seeds = [], sorted(first)
    digits = shown_digits(mean_and_spread(list(first.values()))[0])
    for name, results in groups.items():
        if results.keys() != first.keys():
            found = ", ".join(map(str, sorted(results)))
            raise ValueError(
                f"group {name} has the seeds {found}, and {baseline} {', '.join(map(str, seeds))}; wanted the same ones"
            )
        mean, spread = mean_and_spread(list(results.values()))
        difference = None if name == baseline else paired_difference(first, results)
        numbers = [mean, spread, *(results[seed] for seed in seeds)]
        lines.append([name, *(f"{number:.{digits}f}" for number in numbers), *difference_cells(difference, digits)])
    headers = ["", "mean", "spread", *(f"seed {seed}" for seed in seeds), *difference_headers(baseline)]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


def table_over_images(groups: Mapping[str, Sequence[Path]], *, resamples: int) -> str:
    """Write a table in Markdown: each group's mIoU, and what it is above the first group, by the bootstrap.

    Args:
        groups: Name of the group -> files of per-image counts, or folders that hold them.
        resamples: The number of resamples of the images.

    Raises:
        ValueError: Counts are missing, or of other data.
    """
    counts = [[ImageCounts.read(path) for path in paths] for paths in groups.values()]
    found = bootstrap_over_images(counts, resamples=resamples)
    lines = [
        [name, f"{own.value:.2f}", shown_bounds(own, 2), *difference_cells(difference if place else None, 2)]
        for place, (name, (own, difference)) in enumerate(zip(groups, found, strict=True))
    ]
    headers = ["", "mIoU", _PERCENT, *difference_headers(next(iter(groups)))]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


_PERCENT = f"{CONFIDENCE:.0%} interval"


def shown_digits(value: float) -> int:
    """Digits behind the point: few for per cent, more for nats and variances."""
    return 1 if abs(value) >= 10 else 3


def difference_headers(baseline: str) -> list[str]:
    """The headers of `difference_cells`."""
    return [f"above {baseline} by", _PERCENT, "verdict"]


def difference_cells(difference: Interval | None, digits: int) -> list[str]:
    """A difference, its interval and the verdict as cells of a table; dashes for what is compared with."""
    if difference is None:
        return ["-"] * 3
    return [f"{difference.value:+.{digits}f}", shown_bounds(difference, digits, sign="+"), difference.verdict]


def shown_bounds(interval: Interval, digits: int, *, sign: str = "") -> str:
    """The bounds of an interval as text."""
    if math.isinf(interval.low):
        return "none, of one seed"
    return f"{interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"
