"""The masks that tokens learn: any number in each image, each with a class.

In semantic segmentation the mask of a class is every pixel with its label; instances come with masks of their own.
Letters: N images, T masks of all images together, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contracts import Targets


@dataclass(frozen=True)
class MaskTargets(ABC):
    """T masks of a batch; the subclasses say where their pixels come from.

    Attributes:
        images: (T,) image of each mask, in rising order.
        classes: (T,) class of each mask.
        valid: (N, H, W) bool, the pixels that count.
        per_image: Number of masks in each image.
    """

    images: Tensor
    classes: Tensor
    valid: Tensor
    per_image: tuple[int, ...]

    @abstractmethod
    def masks(self, index: Tensor) -> Tensor:
        """(M, H, W) bool, the masks that an index (M,) chooses, False where a pixel does not count."""

    @abstractmethod
    def at_size(self, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Masks and valid pixels by nearest sampling, image by image.

        Args:
            size: (h, w).

        Returns:
            (N, most masks of an image, h, w) and (N, h, w), both of bool; False where an image has fewer masks.
        """

    @property
    def shown(self) -> Tensor:
        """(N,) bool, images with a pixel that counts; one ignored altogether says nothing of what it lacks."""
        return self.valid.flatten(1).any(dim=1)

    def padded(self, values: Tensor, filler: float | bool) -> Tensor:
        """Values (T, ...) of the masks as (N, most masks of an image, ...), filled up where an image has fewer."""
        parts = values.split(list(self.per_image))
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=filler)


@dataclass(frozen=True)
class SemanticMasks(MaskTargets):
    """One mask for each class that an image shows.

    Attributes:
        labels: (N, H, W) class ids or the ignore label.
    """

    labels: Tensor

    @classmethod
    def of(cls, targets: Targets, *, num_classes: int, ignore_value: int) -> "SemanticMasks":
        """The masks of label maps."""
        present = present_classes(targets.labels, num_classes=num_classes, ignore_value=ignore_value)
        present = present.cpu()  # the number of masks makes shapes: the one wait for the device
        images, classes = (x.to(targets.labels.device, non_blocking=True) for x in present.nonzero(as_tuple=True))
        valid, per_image = targets.labels != ignore_value, tuple(present.sum(dim=1).tolist())
        return cls(images, classes, valid, per_image, targets.labels)

    def masks(self, index: Tensor) -> Tensor:
        return self.labels[self.images[index]] == self.classes[index, None, None]

    def at_size(self, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        labels, valid = (_nearest(x[:, None], size)[:, 0] for x in (self.labels, self.valid))
        classes = self.padded(self.classes, -1)
        return labels[:, None] == classes[:, :, None, None], valid


@dataclass(frozen=True)
class GivenMasks(MaskTargets):
    """Masks that may overlap, such as those of instances.

    Attributes:
        pixels: (T, H, W) bool.
    """

    pixels: Tensor

    @classmethod
    def of(cls, masks: Sequence[Tensor], classes: Sequence[Tensor], valid: Tensor) -> "GivenMasks":
        """
        Args:
            masks: A tensor (T_i, H, W) bool for each image.
            classes: The classes (T_i,) of these masks, for each image.
            valid: (N, H, W) bool.
        """
        per_image = tuple(len(own) for own in masks)
        images = torch.arange(len(masks), device=valid.device).repeat_interleave(
            torch.tensor(per_image, device=valid.device)
        )
        return cls(images, torch.cat(list(classes)), valid, per_image, torch.cat(list(masks)))

    def masks(self, index: Tensor) -> Tensor:
        return self.pixels[index] & self.valid[self.images[index]]

    def at_size(self, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        valid = _nearest(self.valid[:, None], size)[:, 0]
        pixels = _nearest(self.masks(torch.arange(len(self.pixels), device=self.pixels.device))[:, None], size)[:, 0]
        return self.padded(pixels, False), valid


def present_classes(labels: Tensor, *, num_classes: int, ignore_value: int) -> Tensor:
    """Which classes the valid pixels of each image show: (N, K) bool from (N, H, W) labels."""
    labels = labels.flatten(1)
    found = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    # ignored pixels fall into a column of their own
    return found.scatter_(1, labels.masked_fill(labels == ignore_value, num_classes), True)[:, :num_classes]


def _nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 1, H, W) bool or integers, to (N, 1, *size)."""
    return F.interpolate(maps.float(), size=tuple(size), mode="nearest").to(maps.dtype)
