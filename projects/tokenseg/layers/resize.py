"""Bilinear resizing of maps."""

from collections.abc import Sequence

import torch
from torch import SymInt, Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps (N, C, h, w) to (N, C, *size) bilinearly, without aligned corners; no copy if the size matches."""
    if always_fits(maps, size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def resize_one(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the maps (C, h, w) of one image to (C, *size) like `resize`, preserving channels-last memory order.

    With a plain `maps[None]`, the stride of the new dimension would hide from torch that the maps are channels-last,
    and it would copy them.
    """
    return resize(maps.permute(1, 2, 0)[None].permute(0, 3, 1, 2), size)[0]


def zeros_like_map(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Create zeros (C, *size) in single precision with the channels and the memory order of maps (C, h, w)."""
    if maps.stride(0) != 1:
        return maps.new_zeros(len(maps), *size, dtype=torch.float32)
    return maps.new_zeros(*size, len(maps), dtype=torch.float32).permute(2, 0, 1)


def always_fits(maps: Tensor, size: Sequence[int]) -> bool:
    """Whether maps (..., h, w) have this size.

    While a model is exported for inputs of any size, the answer is whether they have it for every input. A plain
    comparison would specialise the exported model to the size of the example.
    """
    got, wanted = tuple(maps.shape[-2:]), tuple(size)
    if not any(isinstance(side, SymInt) for side in (*got, *wanted)):
        return got == wanted
    from torch.fx.experimental.symbolic_shapes import statically_known_true, sym_eq  # takes long to import

    return statically_known_true(sym_eq(got, wanted))
