"""The output of a head for a view of an image, before it is resized to the pixels of the view.

Letters: K classes, k a selection of them, Q tokens, h x w the size of the head's maps, H x W that of the view in
pixels, n pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..layers.bilinear_taps import resized_at
from ..layers.mask_scores import sum_of_masks
from ..layers.memory_order import channels_last
from ..layers.resize import resize

# The number of rows of the head's maps whose masks are held at full size at a time.
_ROWS = 4


class View(Protocol):
    """The scores of a view, which can be evaluated for some classes or at some pixels.

    Attributes:
        num_classes: The number of classes K.
        device: The device of the scores.
    """

    @property
    def num_classes(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def planes(self, classes: Tensor) -> Tensor:
        """Compute the scores (k, H, W) of the classes with the ids (k,)."""

    def bound(self, classes: Tensor) -> Tensor:
        """Compute a map (1, H, W) that is an upper bound of the scores of these classes, up to rounding."""

    def wins(self) -> Tensor:
        """Count the cells of the head's maps that each class wins, (K,)."""

    def peaks(self) -> Tensor:
        """Compute an upper bound (K,) of the score of each class in this view, up to rounding."""

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Compute the scores (n, K) of the pixels at these rows and columns, (n,) each."""


@dataclass(frozen=True)
class ScoreView:
    """A view of a head that gives scores at its own stride.

    Attributes:
        scores: The scores (1, K, h, w), in single precision.
        batch_size: (height, width) of the padded batch, to which the scores are resized.
        image_size: (H, W) of the view in it.
    """

    scores: Tensor
    batch_size: tuple[int, int]
    image_size: tuple[int, int]

    @property
    def num_classes(self) -> int:
        return self.scores.shape[1]

    @property
    def device(self) -> torch.device:
        return self.scores.device

    def planes(self, classes: Tensor) -> Tensor:
        """See `View`; the result is bitwise equal to the same planes of all scores."""
        chosen = self.scores[:, classes]
        if self.scores.is_contiguous(memory_format=torch.channels_last):
            chosen = channels_last(chosen)
        return _cropped(resize(chosen, self.batch_size), self.image_size)

    def bound(self, classes: Tensor) -> Tensor:
        """See `View`: the maximum over the classes in each cell, resized. Interpolation preserves the bound."""
        highest = self.scores[:, classes].amax(dim=1, keepdim=True)
        return _cropped(resize(highest, self.batch_size), self.image_size)

    def wins(self) -> Tensor:
        """See `View`."""
        return torch.bincount(self.scores.max(dim=1).indices.flatten(), minlength=self.num_classes)

    def peaks(self) -> Tensor:
        """See `View`."""
        return self.scores[0].flatten(1).amax(dim=1)

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `View`."""
        cells = self.scores[0].permute(1, 2, 0)
        return resized_at(lambda y, x: cells[y, x], cells.shape[:2], self.batch_size, rows, columns)


@dataclass(frozen=True)
class MaskView:
    """A view of a head whose scores are sums over tokens of class probability times mask, see `class_scores`.

    Attributes:
        masks: The masks (1, Q, h, w) before the sigmoid, in single precision.
        probabilities: The probabilities (1, Q, K) of the classes of each token.
        size: (height, width) to which the masks are resized.
        batch_size: (height, width) of the padded batch, to which the scores are resized.
        image_size: (H, W) of the view in it.
    """

    masks: Tensor
    probabilities: Tensor
    size: tuple[int, int]
    batch_size: tuple[int, int]
    image_size: tuple[int, int]

    @property
    def num_classes(self) -> int:
        return self.probabilities.shape[2]

    @property
    def device(self) -> torch.device:
        return self.masks.device

    def planes(self, classes: Tensor) -> Tensor:
        """See `View`."""
        chosen = self.probabilities[:, :, classes]
        scores = chosen.new_empty(1, *self.size, len(classes)).permute(0, 3, 1, 2)
        for rows, band in self._bands(chosen):
            scores[:, :, rows] = band
        return _cropped(resize(scores, self.batch_size), self.image_size)

    def _bands(self, probabilities: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield bands of rows and their scores, so that few rows of the masks are held at full size.

        Masks are only divided into bands if their sides grow by a power of two. The sampling positions are then exact
        in floating point, so that a band has the same scores as the whole.
        """
        height = self.masks.shape[2]
        step = self.size[0] // height
        if step * height != self.size[0] or step & (step - 1):
            yield slice(0, self.size[0]), sum_of_masks(self.masks, probabilities, size=self.size)
            return
        for top in range(0, height, _ROWS):
            bottom = min(top + _ROWS, height)
            first, last = max(top - 1, 0), min(bottom + 1, height)  # neighbouring rows for interpolation
            band = sum_of_masks(self.masks[:, :, first:last], probabilities, size=((last - first) * step, self.size[1]))
            yield slice(top * step, bottom * step), band[:, :, (top - first) * step : (bottom - first) * step]

    def bound(self, classes: Tensor) -> Tensor:
        """See `View`: a constant, since no mask exceeds the value of its highest cell."""
        return self.peaks()[classes].amax().expand(1, *self.image_size)

    def wins(self) -> Tensor:
        """See `View`."""
        scores = sum_of_masks(self.masks, self.probabilities, size=tuple(self.masks.shape[-2:]))
        return torch.bincount(scores.max(dim=1).indices.flatten(), minlength=self.num_classes)

    def peaks(self) -> Tensor:
        """See `View`."""
        highest = self.masks[0].flatten(1).amax(dim=1).sigmoid()
        return (highest[:, None] * self.probabilities[0]).sum(dim=0)

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `View`."""
        return resized_at(self._at_size, self.size, self.batch_size, rows, columns)

    def _at_size(self, rows: Tensor, columns: Tensor) -> Tensor:
        cells = self.masks[0].permute(1, 2, 0)
        masks = resized_at(lambda y, x: cells[y, x], cells.shape[:2], self.size, rows, columns).sigmoid()
        with torch.autocast(masks.device.type, enabled=False):
            return masks @ self.probabilities[0]


def _cropped(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps[0, :, : size[0], : size[1]]
