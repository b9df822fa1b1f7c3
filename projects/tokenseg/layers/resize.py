"""Bilinear resizing of maps."""

from collections.abc import Sequence

from torch import SymInt, Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h, w) to (N, C, *size), bilinearly and without aligned corners; the maps themselves where they fit."""
    if always_fits(maps, size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


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
