"""Adaptive average pooling that can be exported for maps of any size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def adaptive_average(maps: Tensor, side: int) -> Tensor:
    """Average maps over the cells of a square grid, as torch's `adaptive_avg_pool2d` does.

    Exported programs use two matrix products instead, since torch exports its own function for the recorded map size
    only, and the ONNX file would fail at other sizes.

    Args:
        maps: Maps (N, C, H, W).
        side: The number of cells along each side of the grid.

    Returns:
        The averages (N, C, side, side).
    """
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(maps, side)
    height, width = maps.shape[-2:]
    return _cells(height, side, maps) @ maps @ _cells(width, side, maps).T


def _cells(length: int, side: int, like: Tensor) -> Tensor:
    """Pooling weights (side, length) along one dimension: a cell averages all pixels that it touches."""
    cells = torch.arange(side, device=like.device)[:, None]
    pixels = torch.arange(length, device=like.device)
    # The length is computed as a tensor, because onnxruntime rejects what a symbolic number is exported to.
    total = torch.ones_like(pixels).sum()
    # Cell i reaches from i * length / side to (i + 1) * length / side.
    touched = ((pixels + 1) * side > cells * total) & (pixels * side < (cells + 1) * total)
    weights = touched.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


class AdaptiveAverage(nn.Module):
    """`adaptive_average` as a layer."""

    def __init__(self, side: int) -> None:
        """
        Args:
            side: The number of cells along each side of the grid.
        """
        super().__init__()
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, side, side)."""
        return adaptive_average(maps, self.side)

    def extra_repr(self) -> str:
        return f"side={self.side}"
