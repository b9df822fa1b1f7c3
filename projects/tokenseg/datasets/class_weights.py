"""How much each class counts in the losses, by the numbers of its pixels."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from ..data.labels import check_label_range, read_class_ids
from .records import load_records


def balanced_weights(pixels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Weights by which all classes that are there count alike: in total / (classes that are there * own pixels).

    Their mean over the pixels is 1, so that losses keep their size. A class without pixels has the weight 1: nothing
    is learnt of it anyway, and a mistaken weight of 0 would tell nobody.

    Args:
        pixels: (K,) numbers of labelled pixels.

    Returns:
        (K,) in double precision.

    Raises:
        ValueError: No class has pixels.
    """
    pixels = np.asarray(pixels, dtype=float)
    there = pixels > 0
    if not there.any():
        raise ValueError("no class has a labelled pixel; wanted label maps that show some")
    return np.where(there, pixels.sum() / (there.sum() * np.where(there, pixels, 1)), 1.0)


def count_class_pixels(names: str | Sequence[str], *, num_classes: int, ignore_label: int) -> np.ndarray:
    """Count the pixels of each class in the label maps of registered data sets, which are all read.

    Args:
        names: The names of the data sets.
        num_classes: The number of classes K.
        ignore_label: The class id of pixels that count nowhere.

    Returns:
        (K,) numbers of pixels.

    Raises:
        ValueError: A label map cannot be read, or a label is out of range.
    """

    def count(record: dict) -> np.ndarray:
        label, path = read_class_ids(record), record["sem_seg_file_name"]
        check_label_range(label, num_classes=num_classes, ignore_label=ignore_label, path=path)
        return np.bincount(label[label != ignore_label].ravel(), minlength=num_classes)

    records = load_records(names)
    with ThreadPoolExecutor(4) as pool:  # decoding a file lets other threads run
        counts = pool.map(count, records)
        progress = tqdm(counts, total=len(records), desc="pixels of each class", unit="image", disable=None)
        return np.sum([*progress], axis=0)
