"""The target masks of tokens: any number per image, each with a class.

In semantic segmentation the mask of a class is the set of pixels with its label; instances come with their own masks.
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
    """The T target masks of a batch; the subclasses define where their pixels come from.

    Attributes:
        images: The image index of each mask, (T,), in ascending order.
        classes: The class of each mask, (T,).
        valid: The pixels that are not ignored, (N, H, W) bool.
        per_image: The number of masks in each image.
    """

    images: Tensor
    classes: Tensor
    valid: Tensor
    per_image: tuple[int, ...]

    @abstractmethod
    def masks(self, index: Tensor) -> Tensor:
        """Return the masks that an index (M,) selects, (M, H, W) bool, False at ignored pixels."""

    @abstractmethod
    def at_size(self, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Resize masks and valid pixels by nearest-neighbour sampling and group the masks by image.

        Args:
            size: The wanted (h, w).

        Returns:
            The masks (N, maximum number of masks in an image, h, w) bool, padded with False where an image has fewer
            masks, and the valid pixels (N, h, w) bool.
        """

    @property
    def shown(self) -> Tensor:
        """Images with at least one valid pixel, (N,) bool: a fully ignored image is no evidence of absent classes."""
        return self.valid.flatten(1).any(dim=1)

    def padded(self, values: Tensor, filler: float | bool) -> Tensor:
        """Group values (T, ...) of the masks by image, (N, maximum number of masks, ...), padded with `filler`."""
        parts = values.split(list(self.per_image))
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=filler)


@dataclass(frozen=True)
class SemanticMasks(MaskTargets):
    """One mask for each class present in an image.

    Attributes:
        labels: The class ids or the ignore label, (N, H, W).
    """

    labels: Tensor

    @classmethod
    @torch.compiler.disable  # the number of masks changes from batch to batch
    def of(cls, targets: Targets, *, num_classes: int, ignore_value: int) -> "SemanticMasks":
        """Create the masks of label maps."""
        present = present_classes(targets.labels, num_classes=num_classes, ignore_value=ignore_value)
        present = present.cpu()  # the output size depends on data: the only host-device synchronisation
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
        pixels: The masks (T, H, W) bool.
    """

    pixels: Tensor

    @classmethod
    @torch.compiler.disable  # the number of masks changes from batch to batch
    def of(cls, masks: Sequence[Tensor], classes: Sequence[Tensor], valid: Tensor) -> "GivenMasks":
        """
        Args:
            masks: A tensor (T_i, H, W) bool for each image.
            classes: The classes (T_i,) of these masks, for each image.
            valid: The pixels that are not ignored, (N, H, W) bool.
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
    """Find the classes present among the valid pixels of each image: (N, K) bool from labels (N, H, W)."""
    labels = labels.flatten(1)
    found = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    # Ignored pixels are counted in an extra column, which is cut off.
    return found.scatter_(1, labels.masked_fill(labels == ignore_value, num_classes), True)[:, :num_classes]


def _nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize boolean or integer maps (N, 1, H, W) to (N, 1, *size) by nearest-neighbour sampling."""
    return F.interpolate(maps.float(), size=tuple(size), mode="nearest").to(maps.dtype)
