"""Bilinear resizing at single pixels, with the weights of torch's own kernel.

Letters: C channels, h x w the size before, H x W after, n pixels that are asked for.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .resize import resize

# From rows and columns (n,) to the channels there (n, C).
Read = Callable[[Tensor, Tensor], Tensor]


class Taps(NamedTuple):
    """Which two places of a side each place of the resized side is made of."""

    places: Tensor  # (H, 2) int64
    weights: Tensor  # (H, 2) in single precision, of sum 1


def taps_of_side(length: int, wanted: int, device: torch.device) -> Taps:
    """The taps of a side of `length` that is resized to `wanted`.

    The weights are read off the kernel, which resizes three channels that are 1 at every third place: where it rounds
    the places that it reads at, these weights are rounded with it.
    """
    places = torch.arange(length, device=device)
    combs = torch.stack([(places % 3 == phase).float() for phase in range(3)])[None, :, None]
    weights = resize(combs, (1, wanted))[0, :, 0].T  # (wanted, 3)
    middle = (torch.arange(wanted, device=device, dtype=torch.float64) + 0.5) * (length / wanted) - 0.5
    middle = middle.round().long().clamp(0, length - 1)
    lower = (middle - 1).clamp_min(0)
    # the two are the middle and the one before it, or the middle and the one behind it
    first = torch.where((weights.gather(1, lower[:, None] % 3)[:, 0] > 0) & (lower < middle), lower, middle)
    second = (first + 1).clamp_max(length - 1)
    both = torch.stack([first, second], dim=1)
    found = weights.gather(1, both % 3)
    found[:, 1] = torch.where(first == second, 0.0, found[:, 1])
    return Taps(both, found)


def resized_at(read: Read, size: Sequence[int], wanted: Sequence[int], rows: Tensor, columns: Tensor) -> Tensor:
    """What `resize` would give at some pixels.

    Args:
        read: Gives the channels of the map before it is resized, at rows and columns (n,).
        size: (h, w) before.
        wanted: (H, W) after.
        rows: The rows of the wanted pixels, (n,) int64.
        columns: Their columns, (n,) int64.

    Returns:
        (n, C).
    """
    if tuple(size) == tuple(wanted):
        return read(rows, columns)
    vertical, horizontal = (taps_of_side(*sides, rows.device) for sides in zip(size, wanted, strict=True))
    total = vertical.weights.new_zeros(())
    for y, down in zip(vertical.places[rows].T, vertical.weights[rows].T, strict=True):
        for x, across in zip(horizontal.places[columns].T, horizontal.weights[columns].T, strict=True):
            total = total + (down * across)[:, None] * read(y, x)
    return total
