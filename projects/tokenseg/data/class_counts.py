"""The number of pieces of each class in a label map, the targets of an image-level task."""

import cv2
import numpy as np
import torch
from torch import Tensor


class ClassCounts:
    """Counts the connected pieces of each class in a label map.

    This is a pure function of the label map, which runs in the loader workers. Pieces are 8-connected. If the borders
    of objects are ignored, as in ShapeScenes, touching objects are counted separately.
    """

    def __init__(self, *, num_classes: int, min_pixels: int = 16) -> None:
        """
        Args:
            num_classes: The number of classes K; other ids, such as the ignore label, are not counted.
            min_pixels: The minimum number of pixels of a piece; smaller ones are not counted.
        """
        self.num_classes, self.min_pixels = num_classes, min_pixels

    def __call__(self, label: np.ndarray) -> Tensor:
        """
        Args:
            label: The class ids (H, W).

        Returns:
            The number of pieces of each class, (K,) float32.
        """
        counts = torch.zeros(self.num_classes)
        for class_id in np.flatnonzero(np.bincount(label.ravel(), minlength=self.num_classes)[: self.num_classes]):
            mask = (label == class_id).astype(np.uint8)
            *_, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
            counts[class_id] = int((statistics[1:, cv2.CC_STAT_AREA] >= self.min_pixels).sum())
        return counts
