"""How many pieces of each class a label map shows, as targets of a task that looks at whole images."""

import cv2
import numpy as np
import torch
from torch import Tensor


class ClassCounts:
    """The number of connected pieces of each class in a label map.

    A function of the label map alone, for the workers of the loader. Pieces are 8-connected; where the borders of
    objects are ignored, as in ShapeScenes, objects that touch count one by one.
    """

    def __init__(self, *, num_classes: int, min_pixels: int = 16) -> None:
        """
        Args:
            num_classes: K; other ids, such as the ignore label, are not counted.
            min_pixels: The least number of pixels of a piece that counts.
        """
        self.num_classes, self.min_pixels = num_classes, min_pixels

    def __call__(self, label: np.ndarray) -> Tensor:
        """
        Args:
            label: (H, W) class ids; ids of K and above are not counted.

        Returns:
            (K,) float32, the number of pieces of each class.
        """
        counts = torch.zeros(self.num_classes)
        for class_id in np.flatnonzero(np.bincount(label.ravel(), minlength=self.num_classes)[: self.num_classes]):
            mask = (label == class_id).astype(np.uint8)
            *_, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
            counts[class_id] = int((statistics[1:, cv2.CC_STAT_AREA] >= self.min_pixels).sum())
        return counts
