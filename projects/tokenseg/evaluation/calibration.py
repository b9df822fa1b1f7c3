"""Whether a model is right as often as it says: the expected calibration error of the class of every pixel.

Paper: Guo et al.: On Calibration of Modern Neural Networks (ICML 2017), section 2. Confidence is what the model gives
the class that it chooses; pixels are counted in 15 bins of equal width, (0, 1/15] to (14/15, 1].
"""

from collections.abc import Sequence

import numpy as np

BINS = 15


class CalibrationMetric:
    """The mean difference of accuracy and confidence over bins of confidence, weighted by their pixels."""

    task, wants = "calibration", "confidence"

    def __init__(self, *, class_names: Sequence[str]) -> None:
        """
        Args:
            class_names: The names of the classes, which this metric does not tell apart.
        """
        self.sums: dict[str, np.ndarray] = {
            "pixels": np.zeros(BINS, dtype=np.int64),
            "correct": np.zeros(BINS, dtype=np.int64),
        }
        self.sums["confidence"] = np.zeros(BINS)

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray) -> None:
        """Count an image; see `PixelMetric`."""
        valid = label >= 0
        sure, right = confidence[valid].astype(np.float64), (prediction == label)[valid]
        places = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self.sums["pixels"] += np.bincount(places, minlength=BINS)
        self.sums["correct"] += np.bincount(places[right], minlength=BINS)
        self.sums["confidence"] += np.bincount(places, weights=sure, minlength=BINS)

    def results(self) -> dict[str, float]:
        """`ECE`, and mean `confidence` and `accuracy` of all pixels, in per cent."""
        pixels, correct, confidence = (self.sums[name] for name in ("pixels", "correct", "confidence"))
        total = pixels.sum() or np.nan
        values = {
            "ECE": np.abs(correct - confidence).sum() / total,
            "confidence": confidence.sum() / total,
            "accuracy": correct.sum() / total,
        }
        return {name: 100 * float(value) for name, value in values.items()}

    def rows(self) -> list[list]:
        """A row for every bin, with shares of 0 to 1; NaN where it has no pixels."""
        pixels = self.sums["pixels"]
        known = np.where(pixels > 0, pixels, np.nan)
        means = self.sums["confidence"] / known, self.sums["correct"] / known
        edges = np.arange(BINS + 1) / BINS
        columns = (edges[:-1], edges[1:], pixels, *means)
        return [["above", "to", "pixels", "confidence", "accuracy"], *map(list, zip(*columns, strict=True))]
