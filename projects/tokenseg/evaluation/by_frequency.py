"""The mIoU of frequent, less frequent and rare classes.

As in LVIS (Gupta et al., CVPR 2019), the frequency of a class is the number of images that contain it. Only the
evaluated images are counted, since an evaluation reads no others. LVIS's limits of 10 and 100 images only suit its own
size. Therefore, the classes of the ground truth are divided into thirds, of which the head has the most frequent ones.
Classes in the same number of images are ordered by their number of pixels.
"""

from collections.abc import Sequence

import numpy as np

from .image_counts import class_ious, mean_of_classes

GROUPS = ("head", "body", "tail")


def frequency_groups(images: np.ndarray, pixels: np.ndarray) -> list[np.ndarray]:
    """Divide the classes that occur into thirds by frequency. The first groups may have one class more.

    Args:
        images: The number of images that contain each class, (K,).
        pixels: The number of pixels of each class, (K,).

    Returns:
        The class ids of each group, the most frequent first; classes in no image are in no group.
    """
    order = np.lexsort((-pixels, -images))
    return np.array_split(order[images[order] > 0], len(GROUPS))


class FrequencyMetric:
    """mIoU over the head, the body and the tail of the classes."""

    task, wants = "frequency", None

    def __init__(self, *, class_names: Sequence[str]) -> None:
        """
        Args:
            class_names: The names of the classes.
        """
        self._names = list(class_names)
        zeros = np.zeros(len(self._names), dtype=np.int64)
        self.sums = {name: zeros.copy() for name in ("images", "correct", "predicted", "labelled")}

    def update(self, prediction: np.ndarray, label: np.ndarray, confidence: np.ndarray | None = None) -> None:
        """Add an image; see `PixelMetric`."""
        valid = label >= 0
        kinds = {
            "correct": label[valid & (prediction == label)],
            "predicted": prediction[valid],
            "labelled": label[valid],
        }
        counts = {name: np.bincount(ids, minlength=len(self._names)) for name, ids in kinds.items()}
        for name, values in (counts | {"images": counts["labelled"] > 0}).items():
            self.sums[name] += values

    def results(self) -> dict[str, float]:
        """Return `mIoU_head`, `mIoU_body` and `mIoU_tail` in per cent; NaN for a group without classes."""
        ious = self._ious()
        return {
            f"mIoU_{name}": 100 * float(mean_of_classes(ious[classes]))
            for name, classes in zip(GROUPS, self._groups(), strict=True)
        }

    def rows(self) -> list[list]:
        """Return a header and a row for each class of the ground truth, the most frequent first."""
        ious, sums = 100 * self._ious(), self.sums
        return [
            ["class", "group", "images", "labelled_pixels", "IoU"],
            *(
                [self._names[place], name, sums["images"][place], sums["labelled"][place], ious[place]]
                for name, classes in zip(GROUPS, self._groups(), strict=True)
                for place in classes
            ),
        ]

    def _groups(self) -> list[np.ndarray]:
        return frequency_groups(self.sums["images"], self.sums["labelled"])

    def _ious(self) -> np.ndarray:
        return class_ious(self.sums["correct"], self.sums["predicted"], self.sums["labelled"])
