"""Further metrics of class maps, which an evaluation computes if they are requested by name."""

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

# The name of a metric's file in the output folder of an evaluation.
METRIC_FILE = "sem_seg_{}.csv"
# The id that replaces those of ignored pixels.
_IGNORED = -1


class PixelMetric(Protocol):
    """A metric that is computed from sums over images.

    Attributes:
        task: The name of the metric, under which its results are stored.
        wants: The output that the metric needs from a model besides class ids, such as `confidence`; None for none.
        sums: The sums over all images so far, as arrays by name. The sums of several processes are added.
    """

    @property
    def task(self) -> str: ...

    @property
    def wants(self) -> str | None: ...

    sums: dict[str, np.ndarray]

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray | None = None) -> None:
        """Add an image to the sums.

        Args:
            prediction: The predicted class ids (H, W), -1 at ignored pixels.
            label: The class ids of the ground truth (H, W), -1 at ignored pixels.
            confidence: The probability of the predicted class, (H, W); None if no metric needs it.
        """

    def results(self) -> dict[str, float]:
        """Return the values for metrics.json by name; undefined values are NaN."""

    def rows(self) -> list[list]:
        """Return the rows of the metric's file; the first one has the names of the columns."""


PIXEL_METRICS: dict[str, Any] = {
    metric.task: metric for metric in (BoundaryIoU, SizeMetric, FrequencyMetric, CalibrationMetric)
}


class PixelMetrics:
    """The requested metrics of an evaluation.

    Attributes:
        wants: The outputs that the metrics need from a model besides class ids.
    """

    def __init__(self, names: Sequence[str], *, class_names: Sequence[str], ignore_label: int) -> None:
        """
        Args:
            names: The names of the metrics, which are keys of `PIXEL_METRICS`.
            class_names: The names of the classes.
            ignore_label: The label of the pixels to ignore.
        """
        self._names, self._class_names, self._ignore_label = tuple(names), list(class_names), ignore_label
        self.wants = frozenset(wants for name in names if (wants := PIXEL_METRICS[name].wants))
        self.reset()

    def reset(self) -> None:
        """Reset all sums."""
        self._metrics: list[PixelMetric] = [PIXEL_METRICS[name](class_names=self._class_names) for name in self._names]

    def update(self, prediction: np.ndarray, label: np.ndarray, output: Mapping) -> None:
        """Add an image to all metrics.

        Args:
            prediction: The predicted class ids (H, W).
            label: The class ids of the ground truth or the ignore label, (H, W).
            output: The output of the model for this image, with `confidence` (H, W) if a metric needs it.

        Raises:
            ValueError: The output lacks an entry that a metric needs.
        """
        if not self._metrics:
            return
        missing = [name for name in self.wants if name not in output]
        if missing:
            raise ValueError(
                f"the model's outputs are {', '.join(output)}, but the metrics {', '.join(self._names)} also need "
                f"{', '.join(missing)}; wanted a model that returns it, such as tokenseg.segmentor.Segmentor"
            )
        confidence = output["confidence"].cpu().numpy() if "confidence" in self.wants else None
        ignored = label == self._ignore_label
        prediction, label = (np.where(ignored, _IGNORED, ids) for ids in (prediction, label))
        for metric in self._metrics:
            metric.update(prediction, label, confidence)

    def sums(self) -> list[dict[str, np.ndarray]]:
        """Return the sums of every metric over the images of this process."""
        return [metric.sums for metric in self._metrics]

    def add_up(self, parts: Sequence[Sequence[Mapping[str, np.ndarray]]]) -> None:
        """Replace the sums of this process by those over the images of all processes.

        Args:
            parts: The result of `sums` in each process.
        """
        for metric, own in zip(self._metrics, zip(*parts, strict=True), strict=True):
            metric.sums = {name: sum(sums[name] for sums in own) for name in metric.sums}

    def results(self) -> dict[str, dict[str, float]]:
        """Return the results of every metric under its name."""
        return {metric.task: metric.results() for metric in self._metrics}

    def write(self, folder: Path) -> None:
        """Write a CSV file for every metric.

        Args:
            folder: The output folder of the evaluation.
        """
        # Remove the files of an earlier evaluation, which may belong to other weights.
        for name in PIXEL_METRICS:
            (folder / METRIC_FILE.format(name)).unlink(missing_ok=True)
        for metric in self._metrics:
            with (folder / METRIC_FILE.format(metric.task)).open("w", newline="") as file:
                rows = [[csv_text(cell) if isinstance(cell, str) else cell for cell in row] for row in metric.rows()]
                csv.writer(file).writerows(rows)
