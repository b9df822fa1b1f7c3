"""Bilinear resizing evaluated at single pixels, with exactly the weights of torch's own kernel.

Letters: C channels, h x w the size before, H x W after, n requested pixels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .resize import resize

# A function from rows and columns (n,) to the values of a map there (n, C).
Read = Callable[[Tensor, Tensor], Tensor]


class Taps(NamedTuple):
    """The two source positions of each position of a resized side, and their weights."""

    places: Tensor  # (H, 2) int64
    weights: Tensor  # (H, 2) in single precision, with rows that sum to 1


def taps_of_side(length: int, wanted: int, device: torch.device) -> Taps:
    """Find the taps of a side of `length` that is resized to `wanted`.

    The weights are measured by letting the kernel resize three channels that are 1 at every third position. They
    therefore include the kernel's own rounding of source positions.
    """
    places = torch.arange(length, device=device)
    combs = torch.stack([(places % 3 == phase).float() for phase in range(3)])[None, :, None]
    weights = resize(combs, (1, wanted))[0, :, 0].T  # (wanted, 3)
    middle = (torch.arange(wanted, device=device, dtype=torch.float64) + 0.5) * (length / wanted) - 0.5
    middle = middle.round().long().clamp(0, length - 1)
    lower = (middle - 1).clamp_min(0)
    # The two taps are the nearest source position and either its predecessor or its successor.
    first = torch.where((weights.gather(1, lower[:, None] % 3)[:, 0] > 0) & (lower < middle), lower, middle)
    second = (first + 1).clamp_max(length - 1)
    both = torch.stack([first, second], dim=1)
    found = weights.gather(1, both % 3)
    found[:, 1] = torch.where(first == second, 0.0, found[:, 1])
    return Taps(both, found)


def resized_at(read: Read, size: Sequence[int], wanted: Sequence[int], rows: Tensor, columns: Tensor) -> Tensor:
    """Compute the result of `resize` at some pixels only.

    Args:
        read: The function that reads the channels of the original map at rows and columns (n,).
        size: The size (h, w) of the original map.
        wanted: The size (H, W) of the resized map.
        rows: The rows of the requested pixels, (n,) int64.
        columns: The columns of the requested pixels, (n,) int64.

    Returns:
        The values (n, C).
    """
    if tuple(size) == tuple(wanted):
        return read(rows, columns)
    vertical, horizontal = (taps_of_side(*sides, rows.device) for sides in zip(size, wanted, strict=True))
    total = vertical.weights.new_zeros(())
    for y, down in zip(vertical.places[rows].T, vertical.weights[rows].T, strict=True):
        for x, across in zip(horizontal.places[columns].T, horizontal.weights[columns].T, strict=True):
            total = total + (down * across)[:, None] * read(y, x)
    return total
