"""Class weights for the losses, computed from the number of pixels of each class."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from ..data.labels import check_label_range, read_class_ids
from .records import load_records


def balanced_weights(pixels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Compute weights that give all present classes the same total weight.

    The weight of a class is (number of all pixels) / (number of present classes * number of its pixels). The mean of
    the weights over the pixels is 1, so the scale of the losses is unchanged. A class without pixels gets the weight 1,
    since a weight of 0 would silently ignore the class if it occurred after all.

    Args:
        pixels: The number of labelled pixels of each class, (K,).

    Returns:
        The weights (K,) in double precision.

    Raises:
        ValueError: No class has pixels.
    """
    pixels = np.asarray(pixels, dtype=float)
    present = pixels > 0
    if not present.any():
        raise ValueError("no class has a labelled pixel; wanted label maps that contain at least one class")
    return np.where(present, pixels.sum() / (present.sum() * np.where(present, pixels, 1)), 1.0)


def count_class_pixels(names: str | Sequence[str], *, num_classes: int, ignore_label: int) -> np.ndarray:
    """Count the pixels of each class in all label maps of registered data sets.

    Args:
        names: The name or names of the data sets.
        num_classes: The number of classes K.
        ignore_label: The class id of the pixels to ignore.

    Returns:
        The number of pixels of each class, (K,).

    Raises:
        ValueError: A label map cannot be read, or a label is out of range.
    """

    def count(record: dict) -> np.ndarray:
        label, path = read_class_ids(record), record["sem_seg_file_name"]
        check_label_range(label, num_classes=num_classes, ignore_label=ignore_label, path=path)
        return np.bincount(label[label != ignore_label].ravel(), minlength=num_classes)

    records = load_records(names)
    with ThreadPoolExecutor(4) as pool:  # threads suffice, since Pillow releases the interpreter lock while decoding
        counts = pool.map(count, records)
        progress = tqdm(counts, total=len(records), desc="pixels of each class", unit="image", disable=None)
        return np.sum([*progress], axis=0)
