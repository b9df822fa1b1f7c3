"""Compares groups of finished runs, with confidence intervals of their differences."""

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
    """A training that has ended.

    Attributes:
        folder: The output folder.
        settings: The section `train` of its config.yaml.
    """

    folder: Path
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "FinishedRun":
        """Read the settings of a run from its config.yaml, without calling anything in it.

        Args:
            folder: The output folder.

        Raises:
            ValueError: The folder has no config.yaml of a training, with a seed.
        """
        path = folder / "config.yaml"
        try:
            settings = read_plain(str(path)).get("train")
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path} cannot be read; wanted the folder of a training: {error}") from error
        if not isinstance(settings, dict) or type(settings.get("seed")) is not int:
            raise ValueError(f"{path} has no train.seed; wanted the config.yaml that a training has written")
        return cls(folder, settings)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def result(self, metric: str) -> float:
        """Read a metric after the last iteration.

        Args:
            metric: A key of metrics.json.

        Raises:
            ValueError: The run has not ended, or has no such metric.
        """
        path, last = self.folder / "metrics.json", self.settings.get("max_iter")
        rows = [row for row in read_metrics(path) if metric in row]
        if not rows:
            raise ValueError(f"{path} has no {metric}; wanted one of its keys as --metric")
        if isinstance(last, int) and rows[-1]["iteration"] + 1 < last:
            reached = rows[-1]["iteration"] + 1
            raise ValueError(f"{path} has {metric} of iteration {reached}; wanted that of the last iteration, {last}")
        return rows[-1][metric]


def results_by_seed(name: str, runs: Sequence[FinishedRun], metric: str) -> dict[int, float]:
    """Read a metric of each run of a group, by the seeds of the runs.

    Args:
        name: The name of the group, for error messages.
        runs: The runs of the group.
        metric: A key of metrics.json.

    Raises:
        ValueError: Two runs have the same seed.
    """
    results: dict[int, float] = {}
    for run in runs:
        if run.seed in results:
            raise ValueError(
                f"two runs of group {name} have the seed {run.seed}, one of them {run.folder}; wanted one run per seed"
            )
        results[run.seed] = run.result(metric)
    return results


def table_over_seeds(groups: Mapping[str, Mapping[int, float]]) -> str:
    """Format a table in Markdown: mean and spread of each group, its seeds, and its difference from the first group.

    Args:
        groups: Name of the group -> the metric by seed. The first group is the baseline of the comparison.

    Raises:
        ValueError: A group does not have the same seeds as the first one.
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
    """Format a table in Markdown: mIoU of each group, and its difference from the first group, by the bootstrap.

    Args:
        groups: Name of the group -> the files with the counts of each image, or folders that contain such a file. The
            first group is the baseline of the comparison.
        resamples: The number of resamples of the images.

    Raises:
        ValueError: Counts are missing, or belong to different data.
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
    """Return the number of digits after the point: few for percentages, more for nats and variances."""
    return 1 if abs(value) >= 10 else 3


def difference_headers(baseline: str) -> list[str]:
    """Return the headers of `difference_cells`."""
    return [f"above {baseline} by", _PERCENT, "verdict"]


def difference_cells(difference: Interval | None, digits: int) -> list[str]:
    """Format a difference, its interval and the verdict as cells of a table; None, for the baseline, gives dashes."""
    if difference is None:
        return ["-"] * 3
    return [f"{difference.value:+.{digits}f}", shown_bounds(difference, digits, sign="+"), difference.verdict]


def shown_bounds(interval: Interval, digits: int, *, sign: str = "") -> str:
    """Format the bounds of an interval."""
    if math.isinf(interval.low):
        return "none, from one seed"
    return f"{interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"
