"""Pixel counts for each image and class, from which the mIoU of any subset of a data set's images can be computed.

This takes three counts per image and class, while a confusion matrix per image would have K x K. For 150 classes and
2,000 images the counts take 3.6 MB in memory, and much less in the compressed file, since most of them are zero.

Letters: n images, K classes.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

# The name of the file that an evaluation writes to its output folder.
IMAGE_COUNTS = "sem_seg_per_image.npz"


def class_ious(correct: np.ndarray, predicted: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Compute the IoU of every class.

    Args:
        correct: The number of pixels of each class that are predicted correctly, (..., K).
        predicted: The number of pixels predicted as each class, correctly or not, (..., K).
        labelled: The number of pixels of each class in the ground truth, (..., K).

    Returns:
        The IoU from 0 to 1, (..., K); NaN for classes that do not occur in the ground truth.
    """
    truth = np.where(labelled > 0, labelled, np.nan)
    return correct / (truth + predicted - correct)


def mean_of_classes(values: np.ndarray) -> np.ndarray:
    """Average values (..., K) over the classes whose value is not NaN; returns (...), NaN if all values are NaN."""
    known = ~np.isnan(values)
    totals, numbers = np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1)
    return np.divide(totals, numbers, out=np.full(numbers.shape, np.nan), where=numbers > 0)


@dataclass(frozen=True)
class ImageCounts:
    """The pixel counts of an evaluation.

    Attributes:
        images: The paths of the label maps, relative to their common folder, in alphabetical order, (n,).
        classes: The names of the classes, (K,).
        correct: The number of pixels of each class that are predicted correctly, (n, K).
        predicted: The number of pixels predicted as each class, correctly or not, without ignored pixels, (n, K).
        labelled: The number of pixels of each class in the label map, (n, K).
    """

    images: np.ndarray
    classes: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray
    labelled: np.ndarray

    @classmethod
    def of_images(cls, counted: Sequence[tuple[str, np.ndarray]], classes: Sequence[str]) -> "ImageCounts":
        """Collect the counts of an evaluation. Their order does not depend on the processes that evaluated the images.

        Args:
            counted: The path of each image's label map, and its counts (3, K): correct, predicted and labelled.
            classes: The names of the classes.
        """
        counted = sorted(counted, key=lambda one: one[0])
        shared = os.path.commonpath([os.path.dirname(path) for path, _ in counted]) if counted else ""
        images = [os.path.relpath(path, shared or ".") for path, _ in counted]
        counts = np.array([one for _, one in counted], dtype=np.uint32).reshape(-1, 3, len(classes))
        return cls(np.array(images, dtype=str), np.array(classes, dtype=str), *np.moveaxis(counts, 1, 0))

    @classmethod
    def read(cls, path: str | os.PathLike) -> "ImageCounts":
        """Read a file from `write`. The file cannot contain code that would be run.

        Args:
            path: The path of the file, of a run's output folder, or of the folder `inference` in it.

        Raises:
            ValueError: The file does not exist, or is another kind of file.
        """
        path = Path(path)
        places = [path / IMAGE_COUNTS, path / "inference" / IMAGE_COUNTS] if path.is_dir() else [path]
        file = next((place for place in places if place.exists()), None)
        if file is None:
            raise ValueError(
                f"there is no {' and no '.join(map(str, places))}; wanted the counts of an evaluation, which every "
                "training writes, and also `train_net.py --config-file C --eval-only train.init_checkpoint=W`"
            )
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file} cannot be read as pixel counts of images: {error}") from error

    def write(self, path: str | os.PathLike) -> None:
        """Write the counts to a compressed .npz file with one array per attribute.

        Args:
            path: The path of the file.
        """
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    def mean_iou(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Compute the mIoU over the images with weights.

        Args:
            weights: How many times each image is counted, (..., n), 0 or more; by default every image once.

        Returns:
            The mIoU in per cent for each row of weights, (...).
        """
        weights = np.ones(len(self.images)) if weights is None else weights.astype(float)
        sums = (weights @ counts.astype(float) for counts in (self.correct, self.predicted, self.labelled))
        return 100 * mean_of_classes(class_ious(*sums))
