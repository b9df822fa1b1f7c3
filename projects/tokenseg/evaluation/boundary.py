"""Boundary IoU: the IoU of the pixels near the contours of masks, which the interior of large areas cannot dominate.

Paper: Cheng et al.: Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (CVPR 2021), here for
classes: as for mIoU, pixels are summed over the data set before the division. The results differ from those of
Detectron2's SemSegEvaluator, which erodes the map of class ids like a grey image, so that differences of ids count as
classes.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .image_counts import class_ious, mean_of_classes

# The width of the boundary, relative to the diagonal of the image.
DILATION_RATIO = 0.02


def near_contours(ids: np.ndarray, distance: int) -> np.ndarray:
    """Find the pixels that are near the border of their class, for all classes together.

    For each class, these are the pixels of its mask that an erosion by a square of 2 x `distance` + 1 pixels removes.
    As in the paper's reference implementation, pixels beyond the border of the image belong to no class.

    Args:
        ids: The class ids (H, W), -1 at pixels without a class.
        distance: The distance from the border in pixels, 1 or more, as the larger of its horizontal and vertical
            component. With 1 the contours are one pixel wide.

    Returns:
        Whether each pixel is near the border, (H, W) bool.
    """
    pixels, square = ids.astype(np.float32), np.ones((3, 3), dtype=np.uint8)
    least, most = (
        change(pixels, square, borderType=cv2.BORDER_CONSTANT, borderValue=-2) for change in (cv2.erode, cv2.dilate)
    )
    inside = (least == pixels) & (most == pixels)
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_C, 3) < distance


class BoundaryIoU:
    """The boundary IoU of each class and their mean.

    The boundary IoU of a class is the IoU of its predicted and its labelled mask, each restricted to the pixels near
    its own contour.
    """

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
        """Add an image; see `PixelMetric`."""
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
        """Return `mIoU` in per cent, the mean over the classes that occur in the ground truth."""
        return {"mIoU": 100 * float(mean_of_classes(self._ious()))}

    def rows(self) -> list[list]:
        """Return a header and a row with the boundary IoU of each class."""
        heading = ["class", "boundary_IoU", "labelled_boundary_pixels", "predicted_boundary_pixels"]
        columns = (self._names, 100 * self._ious(), self.sums["labelled"], self.sums["predicted"])
        return [heading, *map(list, zip(*columns, strict=True))]

    def _ious(self) -> np.ndarray:
        return class_ious(**self.sums)
