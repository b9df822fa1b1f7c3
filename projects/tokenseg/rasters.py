"""Segments large images window by window, so that neither all pixels nor all scores are in memory at once."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.data import transforms as T

from .data.image_reader import ImageReader
from .inference.policy import SlidingWindow
from .inference.row_blocks import scores_by_blocks
from .segmentor import Segmentor, most_likely


def raster_ids(
    model: Segmentor,
    path: str,
    *,
    reader: ImageReader,
    augmentations: Sequence[T.Augmentation] = (),
    window: int | None = None,
    columns: int = 4096,
) -> np.ndarray:
    """Segment an image at its stored size.

    TIFF and NumPy files are read window by window, other files as a whole. The memory holds the class ids, one or two
    bytes per pixel, and the scores of a strip of the height of a window.

    Args:
        model: The segmentor.
        path: The path of the image.
        reader: The reader of its pixels.
        augmentations: The augmentations of the config's test. They must not change the size of this image.
        window: The side of the windows in pixels, for a stride of two thirds of it; None uses the windows of the
            model's policy.
        columns: The width of a strip in pixels.

    Returns:
        The class ids (H, W), uint8 for up to 256 classes, otherwise uint16.

    Raises:
        ValueError: The policy has no windows, the augmentations would resize the image, or the file cannot be read.
    """
    policy = model.inference if window is None else SlidingWindow(window=window, stride=max(1, window * 2 // 3))
    if not isinstance(policy, SlidingWindow):
        raise ValueError(
            f"the policy of the model is {type(policy).__name__}, which has no windows; wanted the side of a window in "
            "pixels, such as the training crop"
        )
    with reader.windows(path) as (size, pixels):
        _check_size(path, size, reader.channels, augmentations)

        def read(rows: slice, columns: slice) -> torch.Tensor:
            image = torch.from_numpy(np.ascontiguousarray(pixels(rows, columns).transpose(2, 0, 1)))
            return model.normalised([{"image": image}])[0]

        ids: np.ndarray | None = None
        for rows, places, scores in scores_by_blocks(model, read, size, policy=policy, columns=columns):
            if ids is None:
                ids = np.empty(size, dtype=np.uint8 if len(scores) <= 256 else np.uint16)
            ids[rows, places] = most_likely(scores).cpu().numpy()
    assert ids is not None  # an image has windows
    return ids


def _check_size(path: str, size: tuple[int, int], channels: int, augmentations: Sequence[T.Augmentation]) -> None:
    """Refuse an image whose size the augmentations of the test would change."""
    shape = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (*size, channels))  # an image of this size without memory
    for one in augmentations:
        transform = one.get_transform(shape)
        found = getattr(transform, "new_h", None), getattr(transform, "new_w", None)
        if not isinstance(transform, T.NoOpTransform) and found != size:
            raise ValueError(
                f"image file {path} has {size[0]}x{size[1]} pixels, and the config's test would apply "
                f"{type(one).__name__} to it; wanted dataloader.test.mapper.augmentations=[], since windows are cut "
                "from the image at its stored size"
            )
