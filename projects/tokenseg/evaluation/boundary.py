"""Boundary IoU: the IoU of what lies near the contours of the masks, which large areas do not hide.

Paper: Cheng et al.: Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (CVPR 2021), here for
classes: pixels are summed over the data set before they are divided, as for mIoU. Detectron2's SemSegEvaluator
erodes the map of ids as a grey picture and counts differences of ids as classes, so that its numbers are others.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .image_counts import class_ious, mean_of_classes

# The width of a boundary as a share of the image's diagonal.
DILATION_RATIO = 0.02


def near_contours(ids: np.ndarray, distance: int) -> np.ndarray:
    """Find the pixels whose class ends within a distance, by the larger of the steps down and across.

    What lies beyond the border of the image has no class, as in the paper's reference. This is each class's mask less
    its erosion by a square of 2 x `distance` + 1 pixels, of all classes at once.

    Args:
        ids: The map of class ids, (H, W), -1 where there is none.
        distance: The distance in pixels, 1 or more; with 1 the contours are one pixel wide.

    Returns:
        (H, W) bool.
    """
    pixels, square = ids.astype(np.float32), np.ones((3, 3), dtype=np.uint8)
    least, most = (
        change(pixels, square, borderType=cv2.BORDER_CONSTANT, borderValue=-2) for change in (cv2.erode, cv2.dilate)
    )
    inside = (least == pixels) & (most == pixels)
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_C, 3) < distance


class BoundaryIoU:
    """The IoU of every class near the contours of its predicted and of its labelled mask, and the mean over classes."""

    task, wants = "boundary", None

    def __init__(self, *, class_names: Sequence[str]) -> None:
        """
        Args:
            class_names: The names of the classes.
        """
        self._names = list(class_names)
        zeros = np.zeros(len(self._names), dtype=np.int64)
        self.sums = {name: zeros.copy() for name in ("correct", "predicted", "labelled")}

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray | None = None) -> None:
        """Count an image; see `PixelMetric`."""
        distance = max(1, round(DILATION_RATIO * float(np.hypot(*label.shape))))
        predicted, labelled = (near_contours(ids, distance) & (ids >= 0) for ids in (prediction, label))
        correct = predicted & labelled & (prediction == label)
        for name, ids in (
            ("correct", label[correct]),
            ("predicted", prediction[predicted]),
            ("labelled", label[labelled]),
        ):
            self.sums[name] += np.bincount(ids, minlength=len(self._names))

    def results(self) -> dict[str, float]:
        """`mIoU` in per cent, over the classes that the ground truth holds."""
        return {"mIoU": 100 * float(mean_of_classes(self._ious()))}

    def rows(self) -> list[list]:
        """The boundary IoU of every class."""
        heading = ["class", "boundary_IoU", "labelled_boundary_pixels", "predicted_boundary_pixels"]
        columns = (self._names, 100 * self._ious(), self.sums["labelled"], self.sums["predicted"])
        return [heading, *map(list, zip(*columns, strict=True))]

    def _ious(self) -> np.ndarray:
        return class_ious(**self.sums)
