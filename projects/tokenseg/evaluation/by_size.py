"""How well objects of one size are segmented, where an object is a connected component of a class in a label map.

mIoU itself has no value by size: a pixel that is wrongly predicted belongs to no labelled object. Two numbers stand for
it. Accuracy is the share of an object's pixels that get its class, which predictions elsewhere do not lower. The IoU of
a segment compares it with the predicted components of its class that touch it, and pixels of these that lie in other
objects of the class are left out, as in the component-wise IoU of Chan et al.: SegmentMeIfYouCan (NeurIPS 2021,
Datasets and Benchmarks). Predicted components that touch no object of their class lower neither.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .image_counts import mean_of_classes

# Sizes with the number of pixels from which they begin, those of COCO's boxes and masks.
SIZES = {"small": 0, "medium": 32**2, "large": 96**2}


def segment_overlaps(predicted: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the components of two masks of one class; components are 8-connected.

    Args:
        predicted: The predicted mask, (H, W) bool.
        labelled: The labelled mask, (H, W) bool.

    Returns:
        Of each labelled component the number of its pixels, of those that are predicted, and of the pixels outside all
        labelled components that belong to predicted ones which touch it: (n,) each.
    """
    count, truth = _components(labelled)
    others, found = _components(predicted)
    # as many pairs as there are pixels at most, where a table of all pairs would have no bound
    pairs, pixels = np.unique((truth * others + found)[labelled | predicted], return_counts=True)
    own, touching = np.divmod(pairs, others)
    outside = np.zeros(others, dtype=np.int64)
    outside[touching[own == 0]] = pixels[own == 0]
    both = (own > 0) & (touching > 0)
    areas, correct, excess = np.zeros((3, count), dtype=np.int64)
    np.add.at(areas, own, pixels)
    np.add.at(correct, own[both], pixels[both])
    np.add.at(excess, own[both], outside[touching[both]])
    return areas[1:], correct[1:], excess[1:]


def _components(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """The number of components, the rest of the image being one of them, and the number of each pixel's."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return count, numbers.astype(np.int64)


class SizeMetric:
    """Accuracy and IoU of labelled segments that are small, medium or large; each class counts as much as another."""

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
        """Count an image; see `PixelMetric`."""
        for class_id in np.unique(label[label >= 0]):
            areas, correct, excess = segment_overlaps(prediction == class_id, label == class_id)
            size = np.searchsorted(list(SIZES.values()), areas, side="right") - 1
            for name, values in (("segments", 1), ("pixels", areas), ("correct", correct)):
                np.add.at(self.sums[name][:, class_id], size, values)
            np.add.at(self.sums["iou"][:, class_id], size, correct / (areas + excess))

    def results(self) -> dict[str, float]:
        """`ACC_small`, `IoU_small` and so on in per cent: means over the classes that have segments of that size."""
        accuracy, iou = self._means()
        values = {f"ACC_{size}": value for size, value in zip(SIZES, accuracy, strict=True)}
        return values | {f"IoU_{size}": value for size, value in zip(SIZES, iou, strict=True)}

    def rows(self) -> list[list]:
        """A row for every size."""
        heading = ["size", "from_pixels", "segments", "classes", "labelled_pixels", "accuracy", "segment_IoU"]
        segments, pixels = self.sums["segments"], self.sums["pixels"]
        sums = segments.sum(axis=1), (segments > 0).sum(axis=1), pixels.sum(axis=1)
        return [heading, *map(list, zip(SIZES, SIZES.values(), *sums, *self._means(), strict=True))]

    def _means(self) -> tuple[list[float], list[float]]:
        """Accuracy and IoU of each size in per cent."""
        kept = {name: self.sums[name].astype(float) for name in ("segments", "pixels")}
        for counts in kept.values():
            counts[counts == 0] = np.nan
        shares = self.sums["correct"] / kept["pixels"], self.sums["iou"] / kept["segments"]
        return tuple((100 * mean_of_classes(values)).tolist() for values in shares)
