"""Multi-scale deformable attention in plain PyTorch, and the encoder layer around it.

Paper: Zhu et al.: Deformable DETR (ICLR 2021), sections 4.1 and 4.2, as Mask2Former (CVPR 2022) uses it: without padded
images, every cell asks at its own centre. Letters: N images, S levels, H_i x W_i the size of level i, L cells of all
levels, C channels, M heads, P points of a head on a level.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .query_decoder import PostNormFeedForward

SAMPLING = ("embedding_bag", "grid_sample")
Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Every cell averages values at a few points near its own place on every level; it says where and how much."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int = 8,
        num_levels: int = 3,
        num_points: int = 4,
        sampling: str = "embedding_bag",
    ) -> None:
        """
        Args:
            width: The number of channels C.
            num_heads: The number of heads M, each with C / M channels.
            num_levels: The number of levels S.
            num_points: The number of points P of a head on a level.
            sampling: How values are read, with equal results: by one weighted sum of rows for all levels
                (`embedding_bag`), or level by level (`grid_sample`).

        Raises:
            ValueError: `num_heads` does not divide `width`, or `sampling` is unknown.
        """
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}; wanted a divisor of the width, {width}")
        if sampling not in SAMPLING:
            raise ValueError(f"sampling is '{sampling}'; wanted one of {', '.join(SAMPLING)}")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling = sampling
        samples = num_heads * num_levels * num_points
        self.offsets = nn.Linear(width, 2 * samples)
        self.weights = nn.Linear(width, samples)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """First weights: all samples count alike, and the points of a head lie on a ray of its own."""
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.weights.bias)
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        rays = torch.stack([angles.cos(), angles.sin()], dim=-1)
        rays = rays / rays.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1).view(1, 1, -1, 1)
        with torch.no_grad():
            offsets = (rays[:, None, None] * steps).expand(-1, self.num_levels, -1, -1)
            self.offsets.bias.copy_(offsets.flatten())

    def forward(self, queries: Tensor, values: Tensor, centres: Tensor, sizes: Sizes) -> Tensor:
        """
        Args:
            queries: (N, L, C), which say where to look.
            values: (N, L, C), what is seen there.
            centres: (L, S, 2), see `cell_centres`.
            sizes: (H_i, W_i) of every level.

        Returns:
            (N, L, C).
        """
        shape = (self.num_heads, self.num_levels, self.num_points)
        points = self.offsets(queries).unflatten(2, (*shape, 2)) + centres[:, None, :, None]
        weights = self.weights(queries).unflatten(2, (self.num_heads, -1)).softmax(dim=-1).unflatten(3, shape[1:])
        values = self.value(values).unflatten(2, (self.num_heads, -1))
        sample = _by_embedding_bag if self.sampling == "embedding_bag" else _by_grid_sample
        return self.out(sample(values, points, weights, sizes))


class DeformableLayer(nn.Module):
    """A post-norm encoder layer with deformable attention."""

    def __init__(self, *, attention: DeformableAttention, width: int, hidden: int) -> None:
        """
        Args:
            attention: The attention of the layer.
            width: The number of channels C.
            hidden: The number of channels within the feed-forward network.
        """
        super().__init__()
        self.attention, self.norm = attention, nn.LayerNorm(width)
        self.feed_forward = PostNormFeedForward(width=width, hidden=hidden, dropout=0.0)

    def forward(self, cells: Tensor, positions: Tensor, centres: Tensor, sizes: Sizes) -> Tensor:
        """
        Args:
            cells: (N, L, C).
            positions: (L, C), added to the queries alone.
            centres: (L, S, 2), see `cell_centres`.
            sizes: (H_i, W_i) of every level.

        Returns:
            (N, L, C).
        """
        return self.feed_forward(self.norm(cells + self.attention(cells + positions, cells, centres, sizes)))


def cell_centres(sizes: Sizes, device: torch.device) -> Tensor:
    """Where the centre of every cell of all levels lies on every level.

    Args:
        sizes: (H_i, W_i) of every level.
        device: The device of the result.

    Returns:
        (L, S, 2) of x and y in cells of the level, whose first centre is (0, 0).
    """
    centres = []
    for height, width in sizes:
        y, x = ((torch.arange(side, device=device) + 0.5) / side for side in (height, width))
        centres.append(torch.cartesian_prod(y, x).flip(-1))
    scale = torch.tensor([(width, height) for height, width in sizes], device=device)
    return torch.cat(centres)[:, None] * scale - 0.5


def _by_embedding_bag(values: Tensor, points: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """Samples of all levels, each of four cells, as one weighted sum of rows.

    Args:
        values: (N, L, M, C / M).
        points: (N, L, M, S, P, 2) of x and y in cells of each level.
        weights: (N, L, M, S, P).
        sizes: (H_i, W_i) of every level.

    Returns:
        (N, L, C).
    """
    count, length, heads, depth = values.shape
    index, shares = _corners(points, sizes)
    # A row for every image, cell and head, as the values lie in memory.
    start = torch.arange(count, dtype=torch.int32, device=values.device).view(-1, 1, 1, 1, 1, 1) * length
    head = torch.arange(heads, dtype=torch.int32, device=values.device).view(-1, 1, 1, 1)
    rows = (index + start) * heads + head
    table = values.reshape(-1, depth)
    shares = shares * weights[..., None].to(shares.dtype)
    samples = F.embedding_bag(
        rows.view(count * length * heads, -1),
        table,
        mode="sum",
        per_sample_weights=shares.view(count * length * heads, -1).to(table.dtype),
    )
    return samples.view(count, length, heads * depth)


def _corners(points: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """The four cells around every point and their bilinear shares.

    Args:
        points: (..., S, P, 2) of x and y in cells of each level.
        sizes: (H_i, W_i) of every level.

    Returns:
        (..., S, P, 4) each: int32 numbers of cells, counted over all levels, and shares, 0 outside the map.
    """
    device = points.device
    last = torch.tensor([(width - 1, height - 1) for height, width in sizes], device=device).view(-1, 1, 2)
    low = points.detach().floor()
    high_share = points - low
    low_share = (1 - high_share) * ((low >= 0) & (low <= last))
    high_share = high_share * ((low >= -1) & (low < last))
    x_shares = torch.stack([low_share[..., 0], high_share[..., 0]], dim=-1)
    y_shares = torch.stack([low_share[..., 1], high_share[..., 1]], dim=-1)
    shares = (y_shares[..., :, None] * x_shares[..., None, :]).flatten(-2)
    low = torch.stack([low, low + 1], dim=-2)
    low = torch.minimum(low.clamp_(min=0), last[..., None, :]).int()
    starts = torch.tensor([0, *(height * width for height, width in sizes[:-1])], device=device).cumsum(0)
    widths = torch.tensor([width for _, width in sizes], device=device, dtype=torch.int32)
    rows = low[..., 1] * widths.view(-1, 1, 1) + starts.int().view(-1, 1, 1)
    return (rows[..., :, None] + low[..., None, :, 0]).flatten(-2), shares


def _by_grid_sample(values: Tensor, points: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """Samples level by level; arguments and result as in `_by_embedding_bag`."""
    count, length, heads, depth = values.shape
    maps = values.permute(0, 2, 3, 1).flatten(0, 1)  # (N * M, C / M, L)
    weights = weights.transpose(1, 2).flatten(0, 1)[:, None]  # (N * M, 1, L, S, P)
    total, start = 0, 0
    for level, (height, width) in enumerate(sizes):
        scale = torch.tensor([2 / width, 2 / height], device=points.device)
        grid = (points[:, :, :, level] + 0.5) * scale - 1
        level_map = maps[:, :, start : start + height * width].unflatten(2, (height, width))
        samples = F.grid_sample(level_map, grid.transpose(1, 2).flatten(0, 1), align_corners=False)
        total = total + (samples * weights[:, :, :, level]).sum(dim=-1)
        start += height * width
    return total.view(count, heads * depth, length).transpose(1, 2)
