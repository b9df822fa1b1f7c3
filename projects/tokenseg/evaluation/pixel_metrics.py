"""Further metrics of class maps, which an evaluation computes where they are asked for by name."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..plain_text import csv_text
from .boundary import BoundaryIoU
from .by_frequency import FrequencyMetric
from .by_size import SizeMetric
from .calibration import CalibrationMetric

# The file of a metric in the output folder of an evaluation.
METRIC_FILE = "sem_seg_{}.csv"
# What stands for the ids of ignored pixels.
_IGNORED = -1


class PixelMetric(Protocol):
    """A metric that adds numbers up over images.

    Attributes:
        task: The name of the metric, under which its results stand.
        wants: What it wants of a model beside class ids, such as `confidence`; None if nothing.
        sums: Arrays by name. Those of several processes are added, and are then the sums of all their images.
    """

    @property
    def task(self) -> str: ...

    @property
    def wants(self) -> str | None: ...

    sums: dict[str, np.ndarray]

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray | None = None) -> None:
        """Count an image.

        Args:
            prediction: The predicted class ids, (H, W), -1 where the label map is ignored.
            label: The class ids of the ground truth, (H, W), -1 where they are ignored.
            confidence: The probability of the predicted class, (H, W); None if no metric wants it.
        """

    def results(self) -> dict[str, float]:
        """What stands in metrics.json, by name; NaN where it is not defined."""

    def rows(self) -> list[list]:
        """What stands in the metric's file: the names of the columns, then the rows."""


PIXEL_METRICS: dict[str, Any] = {
    metric.task: metric for metric in (BoundaryIoU, SizeMetric, FrequencyMetric, CalibrationMetric)
}


class PixelMetrics:
    """The metrics of an evaluation that were asked for.

    Attributes:
        wants: What the metrics want of a model beside class ids.
    """

    def __init__(self, names: Sequence[str], *, class_names: Sequence[str], ignore_label: int) -> None:
        """
        Args:
            names: Keys of `PIXEL_METRICS`.
            class_names: The names of the classes.
            ignore_label: The id of pixels that count nowhere.
        """
        self._names, self._class_names, self._ignore_label = tuple(names), list(class_names), ignore_label
        self.wants = frozenset(wants for name in names if (wants := PIXEL_METRICS[name].wants))
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._metrics: list[PixelMetric] = [PIXEL_METRICS[name](class_names=self._class_names) for name in self._names]

    def update(self, prediction: np.ndarray, label: np.ndarray, output: Mapping) -> None:
        """Count an image in all metrics.

        Args:
            prediction: The predicted class ids, (H, W).
            label: The class ids of the ground truth, (H, W), or the ignore label.
            output: What the model gave, with `confidence` (H, W) if a metric wants it.

        Raises:
            ValueError: The output lacks what a metric wants.
        """
        if not self._metrics:
            return
        missing = [name for name in self.wants if name not in output]
        if missing:
            raise ValueError(
                f"the model gives {', '.join(output)}; the metrics {', '.join(self._names)} want {', '.join(missing)} "
                "too, which tokenseg.segmentor.Segmentor gives"
            )
        confidence = output["confidence"].cpu().numpy() if "confidence" in self.wants else None
        ignored = label == self._ignore_label
        prediction, label = (np.where(ignored, _IGNORED, ids) for ids in (prediction, label))
        for metric in self._metrics:
            metric.update(prediction, label, confidence)

    def sums(self) -> list[dict[str, np.ndarray]]:
        """The sums of every metric, of the images that this process has seen."""
        return [metric.sums for metric in self._metrics]

    def add_up(self, parts: Sequence[Sequence[Mapping[str, np.ndarray]]]) -> None:
        """Replace the sums by those of all processes.

        Args:
            parts: What `sums` gave in each process.
        """
        for metric, own in zip(self._metrics, zip(*parts, strict=True), strict=True):
            metric.sums = {name: sum(sums[name] for sums in own) for name in metric.sums}

    def results(self) -> dict[str, dict[str, float]]:
        """The results of every metric under its name."""
        return {metric.task: metric.results() for metric in self._metrics}

    def write(self, folder: Path) -> None:
        """Write a CSV file for every metric; files of metrics that were not asked for are of other weights, and go.

        Args:
            folder: The output folder of the evaluation.
        """
        for name in PIXEL_METRICS:
            (folder / METRIC_FILE.format(name)).unlink(missing_ok=True)
        for metric in self._metrics:
            with (folder / METRIC_FILE.format(metric.task)).open("w", newline="") as file:
                rows = [[csv_text(cell) if isinstance(cell, str) else cell for cell in row] for row in metric.rows()]
                csv.writer(file).writerows(rows)
