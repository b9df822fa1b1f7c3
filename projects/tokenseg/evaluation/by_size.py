"""Metrics for objects of different sizes, where an object is a connected component of a class in a label map.

mIoU cannot be divided by size, since a false positive pixel belongs to no labelled object. Two metrics take its place.
The accuracy is the share of an object's pixels that are predicted as its class; predictions elsewhere do not affect it.
The IoU of a segment compares the object with the predicted components of its class that touch it. Pixels of these
components that lie in other objects of the class are excluded, as in the component-wise IoU of Chan et al.:
SegmentMeIfYouCan (NeurIPS 2021, Datasets and Benchmarks). Predicted components that touch no object of their class
affect neither metric.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .image_counts import mean_of_classes

# The minimum number of pixels of each size, as for COCO's boxes and masks.
SIZES = {"small": 0, "medium": 32**2, "large": 96**2}


def segment_overlaps(predicted: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the 8-connected components of the predicted and the labelled mask of a class.

    Args:
        predicted: The predicted mask, (H, W) bool.
        labelled: The labelled mask, (H, W) bool.

    Returns:
        Three counts (n,) for the n labelled components: the pixels of the component, those of them that are predicted,
        and the pixels outside all labelled components that belong to predicted components which touch it.
    """
    count, truth = _components(labelled)
    others, found = _components(predicted)
    # Count only the pairs that occur, which are at most as many as pixels. A table of all pairs could be much larger.
    pairs, pixels = np.unique((truth * others + found)[labelled | predicted], return_counts=True)
    own, touching = np.divmod(pairs, others)
    # Component 0 is the background, so these are the pixels of each predicted component outside all labelled ones.
    outside = np.zeros(others, dtype=np.int64)
    outside[touching[own == 0]] = pixels[own == 0]
    both = (own > 0) & (touching > 0)
    areas, correct, excess = np.zeros((3, count), dtype=np.int64)
    np.add.at(areas, own, pixels)
    np.add.at(correct, own[both], pixels[both])
    np.add.at(excess, own[both], outside[touching[both]])
    return areas[1:], correct[1:], excess[1:]


def _components(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """Find the components of a mask: their number, where the background counts as component 0, and each pixel's id."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return count, numbers.astype(np.int64)


class SizeMetric:
    """Accuracy and IoU of small, medium and large labelled segments, averaged over the classes."""

    task, wants = "size", None

    def __init__(self, *, class_names: Sequence[str]) -> None:
        """
        Args:
            class_names: The names of the classes.
        """
        zeros = np.zeros((len(SIZES), len(class_names)))
        self.sums: dict[str, np.ndarray] = {name: zeros.astype(np.int64) for name in ("segments", "pixels", "correct")}
        self.sums["iou"] = zeros

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray | None = None) -> None:
        """Add an image; see `PixelMetric`."""
        for class_id in np.unique(label[label >= 0]):
            areas, correct, excess = segment_overlaps(prediction == class_id, label == class_id)
            size = np.searchsorted(list(SIZES.values()), areas, side="right") - 1
            for name, values in (("segments", 1), ("pixels", areas), ("correct", correct)):
                np.add.at(self.sums[name][:, class_id], size, values)
            np.add.at(self.sums["iou"][:, class_id], size, correct / (areas + excess))

    def results(self) -> dict[str, float]:
        """Return `ACC_small`, `IoU_small` and so on in per cent, averaged over the classes with such segments."""
        accuracy, iou = self._means()
        values = {f"ACC_{size}": value for size, value in zip(SIZES, accuracy, strict=True)}
        return values | {f"IoU_{size}": value for size, value in zip(SIZES, iou, strict=True)}

    def rows(self) -> list[list]:
        """Return a header and a row for each size."""
        heading = ["size", "from_pixels", "segments", "classes", "labelled_pixels", "accuracy", "segment_IoU"]
        segments, pixels = self.sums["segments"], self.sums["pixels"]
        sums = segments.sum(axis=1), (segments > 0).sum(axis=1), pixels.sum(axis=1)
        return [heading, *map(list, zip(SIZES, SIZES.values(), *sums, *self._means(), strict=True))]

    def _means(self) -> tuple[list[float], list[float]]:
        """Compute the accuracy and the IoU of each size in per cent."""
        totals = {name: self.sums[name].astype(float) for name in ("segments", "pixels")}
        for counts in totals.values():
            counts[counts == 0] = np.nan  # classes without segments of a size are excluded from its mean
        shares = self.sums["correct"] / totals["pixels"], self.sums["iou"] / totals["segments"]
        return tuple((100 * mean_of_classes(values)).tolist() for values in shares)
