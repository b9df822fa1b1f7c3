"""mIoU of classes that are frequent, less frequent and rare.

As in LVIS (Gupta et al., CVPR 2019) the frequency of a class is the number of images that show it, here of the images
that are evaluated, since an evaluation reads no others. The bounds are relative, because LVIS's 10 and 100 images
divide no data set but its own: the classes of the ground truth in thirds, the most frequent being the head. Of classes
in as many images the one with more pixels comes first.
"""

from collections.abc import Sequence

import numpy as np

from .image_counts import class_ious, mean_of_classes

GROUPS = ("head", "body", "tail")


def frequency_groups(images: np.ndarray, pixels: np.ndarray) -> list[np.ndarray]:
    """Divide classes into thirds by frequency; the first ones are one larger where they are not equal.

    Args:
        images: The number of images that show each class, (K,).
        pixels: The number of pixels of each class, (K,).

    Returns:
        The ids of the classes of each group, the most frequent first; classes in no image are in none.
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
        """Count an image; see `PixelMetric`."""
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
        """`mIoU_head`, `mIoU_body` and `mIoU_tail` in per cent; NaN for a group without classes."""
        ious = self._ious()
        return {
            f"mIoU_{name}": 100 * float(mean_of_classes(ious[classes]))
            for name, classes in zip(GROUPS, self._groups(), strict=True)
        }

    def rows(self) -> list[list]:
        """A row for every class of the ground truth, the most frequent first."""
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
