"""Connected components of a label map, as targets of regions.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 3.3 and footnote
2: what is apart is likely to be different objects of a class.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

_WITHIN = ("image", "class")


class ConnectedComponents:
    """The largest components of a label map, each as the share it has of every cell of a coarser map.

    A function of the label map alone, for the workers of the loader. Components are those of a class after a small
    opening, 8-connected. What is too small for one is valid, but in none.
    """

    def __init__(
        self,
        *,
        num_active: int = 64,
        stride: int = 8,
        label_stride: int = 1,
        opening: int = 3,
        min_share: float = 0.05,
        within: str = "image",
        ignore_label: int = 255,
    ) -> None:
        """
        Args:
            num_active: L of the loss; L - 1 components are kept at most, the largest.
            stride: Pixels along a side of a cell (ours: 8).
            label_stride: Components are found in every so many pixels (ours: 1, full size); it divides `stride`.
            opening: Side of the square that removes what is thinner, in those pixels; 1 removes nothing (ours: 3).
            min_share: Components smaller than this share of the largest are dropped.
            within: Where the largest component is sought: in the `image`, or among those of the component's `class`.
            ignore_label: Id of pixels that count nowhere.

        Raises:
            ValueError: A stride that does not fit, an unknown `within`, or numbers out of range.
        """
        if label_stride < 1 or stride % label_stride:
            raise ValueError(f"stride is {stride} and label_stride {label_stride}; wanted a divisor of stride")
        if within not in _WITHIN or num_active < 2 or opening < 1 or not 0 <= min_share <= 1:
            raise ValueError(
                f"got within='{within}', num_active={num_active}, opening={opening}, min_share={min_share}; wanted "
                f"within to be one of {', '.join(_WITHIN)}, num_active >= 2, opening >= 1, min_share of 0 to 1"
            )
        self.most, self.stride, self.label_stride = num_active - 1, stride, label_stride
        self.opening, self.min_share, self.within, self.ignore_label = opening, min_share, within, ignore_label

    def __call__(self, label: np.ndarray) -> Tensor:
        """
        Args:
            label: (H, W) class ids or `ignore_label`.

        Returns:
            (1 + M, ceil(H / stride), ceil(W / stride)) float32: the share of each cell that is valid, then those of the
            components, the largest first.
        """
        step = self.label_stride
        ids, count = self._find(label[::step, ::step])
        return torch.from_numpy(_shares(ids, count, self.stride // step))

    def _find(self, label: np.ndarray) -> tuple[np.ndarray, int]:
        """(H, W) ids, 0 ignored, 1 in no component, 2 and on the components; and the number of components."""
        kernel = np.ones((self.opening, self.opening), dtype=np.uint8)
        valid = label != self.ignore_label
        label = label.astype(np.int32)  # which OpenCV compares much faster
        numbers, owners = np.zeros(label.shape, dtype=np.int32), [0]  # of every component its number and its class
        for class_id in np.flatnonzero(np.bincount(label[valid])):
            mask = cv2.inRange(label, int(class_id), int(class_id))
            opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel) if self.opening > 1 else mask
            # without statistics, which OpenCV counts ten times as long as it finds the components
            count, own = cv2.connectedComponents(opened, connectivity=8, ltype=cv2.CV_32S)
            np.add(own, len(owners) - 1, out=numbers, where=own > 0)
            owners += [int(class_id)] * (count - 1)
        areas = np.bincount(numbers.ravel(), minlength=len(owners))
        areas[0] = 0
        kept = self._choose(areas, np.array(owners))
        places = np.zeros(len(areas), dtype=np.int32)
        places[kept] = np.arange(1, len(kept) + 1)
        return valid + places[numbers], len(kept)

    def _choose(self, areas: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Numbers of the components that are kept, the largest first, out of areas and classes; number 0 is none."""
        largest = areas.max()
        if self.within == "class":
            largest = np.zeros(owners.max() + 1, dtype=areas.dtype)
            np.maximum.at(largest, owners, areas)
            largest = largest[owners]
        kept = np.flatnonzero((areas > 0) & (areas >= self.min_share * largest))
        return kept[np.argsort(-areas[kept], kind="stable")][: self.most]


def _shares(ids: np.ndarray, count: int, stride: int) -> np.ndarray:
    """Of (H, W) ids, the share that all above 0, then each of 2 to count + 1, has of each cell of stride x stride."""
    height, width = (-(-side // stride) for side in ids.shape)
    rows, columns = (np.arange(side) // stride for side in ids.shape)
    places = (rows[:, None] * width + columns) * (count + 2) + ids
    pixels = np.bincount(places.ravel(), minlength=height * width * (count + 2)).reshape(height, width, count + 2)
    shares = pixels[:, :, 1:].astype(np.float32) / stride**2
    shares[:, :, 0] = shares.sum(axis=2)
    return np.ascontiguousarray(shares.transpose(2, 0, 1))
