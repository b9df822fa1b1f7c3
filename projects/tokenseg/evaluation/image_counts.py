"""Counts of pixels by image and class: enough for the mIoU of any choice of a data set's images.

Three numbers for each image and class suffice, where a confusion matrix for each image would have K x K: with 150
classes and 2,000 images 3.6 MB, of which the file needs a small part, since most of the numbers are zero.

Letters: n images, K classes.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

# The file that an evaluation leaves in its output folder.
IMAGE_COUNTS = "sem_seg_per_image.npz"


def class_ious(correct: np.ndarray, predicted: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """The IoU of every class, NaN where the ground truth lacks it.

    Args:
        correct: (..., K) pixels of each class that are predicted as such.
        predicted: (..., K) pixels that are predicted as each class, rightly or not.
        labelled: (..., K) pixels of each class in the ground truth.

    Returns:
        (..., K) shares, 0 to 1.
    """
    truth = np.where(labelled > 0, labelled, np.nan)
    return correct / (truth + predicted - correct)


def mean_of_classes(values: np.ndarray) -> np.ndarray:
    """The means (...) of values (..., K) over the classes whose value is not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    totals, numbers = np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1)
    return np.divide(totals, numbers, out=np.full(numbers.shape, np.nan), where=numbers > 0)


@dataclass(frozen=True)
class ImageCounts:
    """What an evaluation counted in each image.

    Attributes:
        images: (n,) the paths of the label maps, below the folder that all of them share, in alphabetical order.
        classes: (K,) the names of the classes.
        correct: (n, K) pixels of each class that are predicted as such.
        predicted: (n, K) pixels that are predicted as each class, rightly or not; ignored pixels are not among them.
        labelled: (n, K) pixels of each class in the label map.
    """

    images: np.ndarray
    classes: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray
    labelled: np.ndarray

    @classmethod
    def of_images(cls, counted: Sequence[tuple[str, np.ndarray]], classes: Sequence[str]) -> "ImageCounts":
        """Put the images of an evaluation together, in an order that does not depend on how processes shared them.

        Args:
            counted: The path of each image's label map, and its counts (3, K): correct, predicted, labelled.
            classes: The names of the classes.
        """
        counted = sorted(counted, key=lambda one: one[0])
        shared = os.path.commonpath([os.path.dirname(path) for path, _ in counted]) if counted else ""
        images = [os.path.relpath(path, shared or ".") for path, _ in counted]
        counts = np.array([one for _, one in counted], dtype=np.uint32).reshape(-1, 3, len(classes))
        return cls(np.array(images, dtype=str), np.array(classes, dtype=str), *np.moveaxis(counts, 1, 0))

    @classmethod
    def read(cls, path: str | os.PathLike) -> "ImageCounts":
        """Read the file that `write` left; nothing in it can run code.

        Args:
            path: The path of the file, or of the output folder of a run, or of the folder `inference` in that.

        Raises:
            ValueError: There is no such file, or it is another kind of file.
        """
        path = Path(path)
        places = [path / IMAGE_COUNTS, path / "inference" / IMAGE_COUNTS] if path.is_dir() else [path]
        file = next((place for place in places if place.exists()), None)
        if file is None:
            raise ValueError(
                f"there is no {' and no '.join(map(str, places))}; wanted the counts of an evaluation, which every "
                "training leaves, and `train_net.py --config-file C --eval-only train.init_checkpoint=W`"
            )
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file} cannot be read as counts of images: {error}") from error

    def write(self, path: str | os.PathLike) -> None:
        """Write the counts to a compressed .npz with an array for each attribute.

        Args:
            path: The path of the file.
        """
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    def mean_iou(self, weights: np.ndarray | None = None) -> np.ndarray:
        """The mIoU in per cent over the images, each counted as often as its weight says.

        Args:
            weights: (..., n), 0 or more; by default every image counts once.

        Returns:
            (...), one number for each row of weights.
        """
        weights = np.ones(len(self.images)) if weights is None else weights.astype(float)
        sums = (weights @ counts.astype(float) for counts in (self.correct, self.predicted, self.labelled))
        return 100 * mean_of_classes(class_ious(*sums))
