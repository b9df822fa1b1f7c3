"""Test images at several scales, each made of the file's pixels and not of what another resize left of them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from detectron2.data import transforms as T
from torch import Tensor

from .transforms import ResizeBands


@runtime_checkable
class ResizesToScale(Protocol):
    """An augmentation that decides the size of test images, and how large they are at another scale."""

    def at_scale(self, scale: float) -> T.Augmentation:
        """The augmentation for views of a scale, relative to the test images' size."""


class OriginalImage:
    """The pixels of an image file and the augmentations of the test, for views of any scale."""

    def __init__(self, *, pixels: np.ndarray, augmentations: Sequence[T.Augmentation]) -> None:
        """
        Args:
            pixels: The image as it was read, an array (H, W, C).
            augmentations: What a test applies to it, in order. Those that resize images are asked for a scale if they
                are `ResizesToScale`; if none is, what all of them give is resized.
        """
        # a tensor, since tensors reach other processes by shared memory
        self.pixels = torch.from_numpy(np.array(pixels))
        self.augmentations = list(augmentations)

    def at_scale(self, scale: float) -> Tensor:
        """
        Args:
            scale: The factor on the sides of the test image.

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
