"""Reading label maps: the one place that turns a label PNG into class ids."""

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image


def read_label(path: str) -> np.ndarray:
    """Read a label map as stored: grey values, or the indices of a palette image, never its colours.

    Returns:
        (H, W) int64 array of ids.

    Raises:
        ValueError: the file is no readable image, or has colour channels instead of one id a pixel.
    """
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            mode = image.mode
            label = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"label file {path} cannot be read as an image: {error}") from error
    if label.ndim != 2:
        raise ValueError(f"label file {path} has mode {mode}, wanted one id a pixel (a grey or palette image)")
    return label.astype(np.int64)


def check_label_range(label: np.ndarray, *, num_classes: int, ignore_label: int, path: str) -> None:
    """Raise ValueError, naming the file, unless every id of `label` is below `num_classes` or the ignore label."""
    wrong = (label != ignore_label) & ((label < 0) | (label >= num_classes))
    if wrong.any():
        ids = np.unique(label[wrong])
        shown = ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")
        raise ValueError(
            f"label file {path} holds the ids {shown}; "
            f"wanted 0 to {num_classes - 1}, or {ignore_label} for ignored pixels"
        )
