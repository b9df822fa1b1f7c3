"""Bilinear resizing of maps."""

from collections.abc import Sequence

import torch
from torch import SymInt, Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h, w) to (N, C, *size), bilinearly and without aligned corners; the maps themselves where they fit."""
    if always_fits(maps, size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def resize_one(maps: Tensor, size: Sequence[int]) -> Tensor:
    """The maps (C, h, w) of one image to (C, *size), as `resize` does, with their channels last where they had them so.

    A plain `maps[None]` gives the new dimension a stride by which torch takes maps with their channels last for maps
    that have to be copied.
    """
    return resize(maps.permute(1, 2, 0)[None].permute(0, 3, 1, 2), size)[0]


def zeros_like_map(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Zeros (C, *size) in single precision, with as many channels and in the same memory order as maps (C, h, w)."""
    if maps.stride(0) != 1:
        return maps.new_zeros(len(maps), *size, dtype=torch.float32)
    return maps.new_zeros(*size, len(maps), dtype=torch.float32).permute(2, 0, 1)


def always_fits(maps: Tensor, size: Sequence[int]) -> bool:
    """Whether maps (..., h, w) have this size.

    While a model is exported for inputs of any size, it is whether they have it for every input: a comparison in plain
    Python would hold the exported model to what is true of the example.
    """
    got, wanted = tuple(maps.shape[-2:]), tuple(size)
    if not any(isinstance(side, SymInt) for side in (*got, *wanted)):
        return got == wanted
    from torch.fx.experimental.symbolic_shapes import statically_known_true, sym_eq  # takes long to import

    return statically_known_true(sym_eq(got, wanted))
