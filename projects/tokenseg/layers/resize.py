"""Bilinear resizing of maps."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h, w) to (N, C, *size), bilinearly and without aligned corners; the maps themselves where they fit."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
