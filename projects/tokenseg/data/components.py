"""Connected components of a label map, the targets for the regions of tokens.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 3.3 and footnote
2: separate components are likely to be different objects of a class.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

_WITHIN = ("image", "class")


class ConnectedComponents:
    """Finds the largest components of a label map and returns the share of each cell of a coarser map that they cover.

    This is a pure function of the label map, which runs in the loader workers. Components are the 8-connected blobs of
    a class after a small morphological opening. Blobs too small to keep count as valid pixels but belong to no
    component.
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
            num_active: The number L of active regions in the loss; at most the L - 1 largest components are kept.
            stride: The side of a cell in pixels (ours: 8).
            label_stride: The subsampling of the label map before components are found, a divisor of `stride` (ours: 1).
            opening: The side of the square of the opening, in subsampled pixels; 1 disables it (ours: 3).
            min_share: The smallest area of a component, relative to the largest component; smaller ones are dropped.
            within: Where the largest component is looked for: in the whole `image`, or in the component's own `class`.
            ignore_label: The id of the pixels to ignore.

        Raises:
            ValueError: `label_stride` does not divide `stride`, `within` is unknown, or a number is out of range.
        """
        if label_stride < 1 or stride % label_stride:
            raise ValueError(
                f"stride is {stride} and label_stride {label_stride}; wanted a label_stride that divides stride"
            )
        if within not in _WITHIN or num_active < 2 or opening < 1 or not 0 <= min_share <= 1:
            raise ValueError(
                f"got within='{within}', num_active={num_active}, opening={opening}, min_share={min_share}; wanted "
                f"within to be one of {', '.join(_WITHIN)}, num_active >= 2, opening >= 1, min_share from 0 to 1"
            )
        self.most, self.stride, self.label_stride = num_active - 1, stride, label_stride
        self.opening, self.min_share, self.within, self.ignore_label = opening, min_share, within, ignore_label

    def __call__(self, label: np.ndarray) -> Tensor:
        """
        Args:
            label: The class ids or `ignore_label`, (H, W).

        Returns:
            The shares (1 + M, ceil(H / stride), ceil(W / stride)) float32: the valid share of each cell, then the share
            that each component covers, the largest component first.
        """
        step = self.label_stride
        ids, count = self._find(label[::step, ::step])
        return torch.from_numpy(_shares(ids, count, self.stride // step))

    def _find(self, label: np.ndarray) -> tuple[np.ndarray, int]:
        """Find the components.

        Returns:
            The ids (H, W): 0 at ignored pixels, 1 at pixels in no component, and from 2 on those of the components; and
            the number of components.
        """
        kernel = np.ones((self.opening, self.opening), dtype=np.uint8)
        valid = label != self.ignore_label
        label = label.astype(np.int32)  # OpenCV compares int32 much faster than int64
        # The number of the component at each pixel, or 0, and the class of each component; owners[0] is unused.
        numbers, owners = np.zeros(label.shape, dtype=np.int32), [0]
        for class_id in np.flatnonzero(np.bincount(label[valid])):
            mask = cv2.inRange(label, int(class_id), int(class_id))
            opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel) if self.opening > 1 else mask
            # Statistics are not requested, since they take OpenCV ten times as long as finding the components.
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
        """Return the numbers of the components to keep, the largest first.

        Args:
            areas: The area of each component in pixels; that of number 0, which is no component, is 0.
            owners: The class of each component.
        """
        largest = areas.max()
        if self.within == "class":
            largest = np.zeros(owners.max() + 1, dtype=areas.dtype)
            np.maximum.at(largest, owners, areas)
            largest = largest[owners]
        kept = np.flatnonzero((areas > 0) & (areas >= self.min_share * largest))
        return kept[np.argsort(-areas[kept], kind="stable")][: self.most]


def _shares(ids: np.ndarray, count: int, stride: int) -> np.ndarray:
    """Compute the share of each cell that all ids above 0 cover together, then that of each id from 2 to count + 1."""
    height, width = (-(-side // stride) for side in ids.shape)
    rows, columns = (np.arange(side) // stride for side in ids.shape)
    places = (rows[:, None] * width + columns) * (count + 2) + ids
    pixels = np.bincount(places.ravel(), minlength=height * width * (count + 2)).reshape(height, width, count + 2)
    shares = pixels[:, :, 1:].astype(np.float32) / stride**2
    shares[:, :, 0] = shares.sum(axis=2)
    return np.ascontiguousarray(shares.transpose(2, 0, 1))
