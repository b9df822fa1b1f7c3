"""Sine-cosine position codes, and 1x1 convolutions of position-aware features.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), Eqs. 1-4. The paper leaves
the coordinates open. Here they are relative to the sides of the map, so that a code does not depend on the map's size.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sine_code(places: Tensor, *, channels: int, temperature: float = 10_000.0) -> Tensor:
    """Compute sines, then cosines, of positions at frequencies that decrease from 2 pi to 2 pi / temperature.

    Args:
        places: The positions (...), from 0 at one side of the map to 1 at the other.
        channels: The number of channels of the code, which must be even.
        temperature: The ratio of the highest to the lowest frequency.

    Returns:
        The codes (..., channels).

    Raises:
        ValueError: The number of channels is odd.
    """
    if channels % 2:
        raise ValueError(f"a position code has {channels} channels; wanted an even number")
    count = channels // 2
    frequencies = temperature ** -(torch.arange(count, device=places.device) / count)
    angles = 2 * math.pi * places[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def cell_centres(count: int, device: torch.device) -> Tensor:
    """Compute the positions (count,) of the centres of cells along a side."""
    return (torch.arange(count, device=device) + 0.5) / count


class PositionConv(nn.Module):
    """1x1 convolution of the position-aware features X' = [X + PE(x); X + PE(y)] (Eq. 1) without building X'.

    Since the convolution is linear, the sum of its two halves is applied to X, and each half to the codes of columns or
    rows only. This halves the multiplications and saves the memory for the 2C channels of X'.
    """

    def __init__(self, *, channels: int, out_channels: int, code: bool = True) -> None:
        """
        Args:
            channels: The number of channels C of the features, which must be even.
            out_channels: The number of channels of the result.
            code: Whether the codes are added; without them X' = [X; X].
        """
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels is {channels}; wanted an even number, half for sines and half for cosines")
        self.channels, self.code = channels, code
        self.weight = nn.Parameter(torch.empty(out_channels, 2 * channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H, W)."""
        by_x, by_y = self.weight.chunk(2, dim=1)
        y = F.conv2d(x, (by_x + by_y)[:, :, None, None], self.bias)
        if not self.code:
            return y
        columns, rows = (
            F.linear(sine_code(cell_centres(side, x.device), channels=self.channels).to(part.dtype), part).T
            for side, part in ((x.shape[-1], by_x), (x.shape[-2], by_y))
        )
        return y + columns[:, None, :] + rows[:, :, None]
