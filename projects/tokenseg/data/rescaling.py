"""Test images at several scales, each resized from the pixels of the file, so that no image is resized twice."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from detectron2.data import transforms as T
from torch import Tensor

from .transforms import ResizeBands


@runtime_checkable
class ResizesToScale(Protocol):
    """An augmentation that resizes test images and can be adapted to another scale."""

    def at_scale(self, scale: float) -> T.Augmentation:
        """Return the augmentation for views whose sides are `scale` times those of the test image."""


class OriginalImage:
    """The pixels of an image file with the test augmentations, from which views at any scale are created."""

    def __init__(self, *, pixels: np.ndarray, augmentations: Sequence[T.Augmentation]) -> None:
        """
        Args:
            pixels: The pixels (H, W, C) of the file.
            augmentations: The test augmentations in their order. Each one that is a `ResizesToScale` is adapted to the
                scale of a view; if there is none, the output of the last augmentation is resized.
        """
        # The pixels are stored as a tensor, since tensors are passed between processes in shared memory.
        self.pixels = torch.from_numpy(np.array(pixels))
        self.augmentations = list(augmentations)

    def at_scale(self, scale: float) -> Tensor:
        """
        Args:
            scale: The factor by which the sides of the test image are multiplied.

        Returns:
            The image (C, h, w), of the same type as a test image.
        """
        resizing = [one for one in self.augmentations if isinstance(one, ResizesToScale)]
        chosen = [one.at_scale(scale) if one in resizing else one for one in self.augmentations]
        inputs = T.AugInput(self.pixels.numpy())
        T.AugmentationList(chosen)(inputs)
        image = inputs.image
        if not resizing:
            height, width = image.shape[:2]
            size = (max(1, round(side * scale)) for side in (height, width))
            image = ResizeBands(height, width, *size).apply_image(image)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
