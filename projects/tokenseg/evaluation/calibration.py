"""The expected calibration error of the class of every pixel: whether confidence matches accuracy.

Paper: Guo et al.: On Calibration of Modern Neural Networks (ICML 2017), section 2. The confidence is the probability of
the predicted class; pixels are counted in 15 bins of equal width, (0, 1/15] to (14/15, 1].
"""

from collections.abc import Sequence

import numpy as np

BINS = 15


class CalibrationMetric:
    """The absolute difference of accuracy and confidence, averaged over confidence bins weighted by their pixels."""

    task, wants = "calibration", "confidence"

    def __init__(self, *, class_names: Sequence[str]) -> None:
        """
        Args:
            class_names: The names of the classes, which are not used, since this metric does not distinguish classes.
        """
        self.sums: dict[str, np.ndarray] = {
            "pixels": np.zeros(BINS, dtype=np.int64),
            "correct": np.zeros(BINS, dtype=np.int64),
        }
        self.sums["confidence"] = np.zeros(BINS)

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray) -> None:
        """Add an image; see `PixelMetric`."""
        valid = label >= 0
        confidences, correct = confidence[valid].astype(np.float64), (prediction == label)[valid]
        # Bins include their upper end; a confidence of exactly 0 belongs to the first one.
        bins = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self.sums["pixels"] += np.bincount(bins, minlength=BINS)
        self.sums["correct"] += np.bincount(bins[correct], minlength=BINS)
        self.sums["confidence"] += np.bincount(bins, weights=confidences, minlength=BINS)

    def results(self) -> dict[str, float]:
        """Return `ECE`, and the mean `confidence` and `accuracy` of all pixels, in per cent."""
        pixels, correct, confidence = (self.sums[name] for name in ("pixels", "correct", "confidence"))
        total = pixels.sum() or np.nan
        values = {
            "ECE": np.abs(correct - confidence).sum() / total,
            "confidence": confidence.sum() / total,
            "accuracy": correct.sum() / total,
        }
        return {name: 100 * float(value) for name, value in values.items()}

    def rows(self) -> list[list]:
        """Return a header and a row for each bin, with values from 0 to 1, or NaN for empty bins."""
        pixels = self.sums["pixels"]
        known = np.where(pixels > 0, pixels, np.nan)
        means = self.sums["confidence"] / known, self.sums["correct"] / known
        edges = np.arange(BINS + 1) / BINS
        columns = (edges[:-1], edges[1:], pixels, *means)
        return [["above", "to", "pixels", "confidence", "accuracy"], *map(list, zip(*columns, strict=True))]
