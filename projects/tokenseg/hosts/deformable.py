"""Multi-scale deformable attention in plain PyTorch, and the encoder layer around it.

Paper: Zhu et al.: Deformable DETR (ICLR 2021), sections 4.1 and 4.2, as used by Mask2Former (CVPR 2022): images are not
padded, and the reference point of every cell is its own centre. Letters: N images, S levels, H_i x W_i the size of
level i, L cells of all levels, C channels, M heads, P points of a head on a level.
"""

import math

import torch
from torch import Tensor, nn

from ..layers.point_conv import PointLinear, point_linear
from .deformable_sampling import LevelLayout, sample_by_embedding_bag, sample_by_grid
from .query_decoder import PostNormFeedForward

SAMPLING = ("embedding_bag", "grid_sample")


class DeformableAttention(nn.Module):
    """Every cell averages values at a few points around it on every level; their offsets and weights are learnt."""

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
            sampling: The implementation of sampling: `embedding_bag`, which reads all levels at once, or `grid_sample`,
                which reads level by level. Their results are equal.

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
        self.offsets = PointLinear(width, 2 * samples)
        self.weights = PointLinear(width, samples)
        self.value, self.out = PointLinear(width, width), PointLinear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give all points equal weights, and place the points of each head along a direction of its own."""
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

    def forward(self, queries: Tensor, values: Tensor, layout: LevelLayout) -> Tensor:
        """
        Args:
            queries: The inputs (N, L, C) from which offsets and weights are computed.
            values: The values (N, L, C) that are sampled.
            layout: The layout of the levels.

        Returns:
            The attended values (N, L, C).
        """
        offsets = self._offsets(queries).unflatten(3, (self.num_heads, -1))
        weights = self.weights(queries).unflatten(2, (self.num_heads, -1)).softmax(dim=-1)
        values = self.value(values).unflatten(2, (self.num_heads, -1))
        # The runtimes that run exported models do not implement the embedding bag.
        by_bags = self.sampling == "embedding_bag" and not torch.compiler.is_exporting()
        sample = sample_by_embedding_bag if by_bags else sample_by_grid
        return self.out(sample(values, offsets, weights, layout))

    def _offsets(self, queries: Tensor) -> Tensor:
        """Compute offsets (N, L, 2, M * S * P), x before y, in cells of each level."""
        # Checkpoints store the rows of x and y in alternation. Sorting the few rows is cheaper than sorting the result.
        weight, bias = self.offsets.weight.unflatten(0, (-1, 2)), self.offsets.bias.unflatten(0, (-1, 2))
        return point_linear(queries, weight.transpose(0, 1).flatten(0, 1), bias.T.flatten()).unflatten(2, (2, -1))


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

    def forward(self, cells: Tensor, positions: Tensor, layout: LevelLayout) -> Tensor:
        """
        Args:
            cells: The cells (N, L, C) of all levels.
            positions: The position codes (L, C), which are added to the queries but not to the values.
            layout: The layout of the levels.

        Returns:
            The new cells (N, L, C).
        """
        return self.feed_forward(self.norm(cells + self.attention(cells + positions, cells, layout)))
