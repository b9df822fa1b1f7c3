"""The modules that the decoders of MaskFormer and Mask2Former have in common.

Papers: Carion et al.: DETR (ECCV 2020); Cheng et al.: MaskFormer (NeurIPS 2021), section 3.3. Letters: N images, Q
queries, K classes, L cells of a map of H x W, C channels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.embedded_masks import EmbeddedMasks
from ..layers.point_conv import PointLinear


class PostNormAttention(nn.Module):
    """Attention, a residual connection, and a layer norm after it."""

    def __init__(self, *, width: int, num_heads: int, dropout: float) -> None:
        """
        Args:
            width: The number of channels C.
            num_heads: The number of heads.
            dropout: The dropout rate of the attention weights and of the attention's output.
        """
        super().__init__()
        self.attention = Attention(width=width, num_heads=num_heads, dropout=dropout)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)
        # The official models initialise query, key and value as one matrix of 3 C outputs, which sets this bound.
        bound = math.sqrt(6 / (4 * width))
        for layer in (self.attention.query, self.attention.key, self.attention.value):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.attention.out.weight)
        nn.init.zeros_(self.attention.out.bias)

    def forward(
        self, states: Tensor, positions: Tensor, keys: Tensor, values: Tensor, *, allowed: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            states: The states (N, Q, C) of the queries.
            positions: The position codes (Q, C), which are added to the states only for the attention.
            keys: The inputs (N, L, C) of the key projection.
            values: The inputs (N, L, C) of the value projection.
            allowed: The cells that each query may attend to, (N, Q, L) bool; all by default.

        Returns:
            The new states (N, Q, C).
        """
        attended, _ = self.attention(states + positions, keys, values, allowed=allowed)
        return self.norm(states + self.dropout(attended))


class PostNormFeedForward(nn.Module):
    """Two linear layers with a ReLU between them, a residual connection, and a layer norm after it."""

    def __init__(self, *, width: int, hidden: int, dropout: float) -> None:
        """
        Args:
            width: The number of channels C.
            hidden: The number of channels between the layers.
            dropout: The dropout rate of the hidden channels and of the output.
        """
        super().__init__()
        self.layers = nn.Sequential(
            PointLinear(width, hidden), nn.ReLU(), nn.Dropout(dropout), PointLinear(hidden, width)
        )
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, states: Tensor) -> Tensor:
        """Compute new states of the same shape (..., C)."""
        return self.norm(states + self.dropout(self.layers(states)))


class QueryLayer(nn.Module):
    """A decoder layer: the queries attend to one another and to a map, followed by a feed-forward network."""

    def __init__(self, *, width: int, num_heads: int, hidden: int, dropout: float, cross_first: bool) -> None:
        """
        Args:
            width: The number of channels C.
            num_heads: The number of heads of both attentions.
            hidden: The number of channels within the feed-forward network.
            dropout: The dropout rate of both attentions and of the feed-forward network.
            cross_first: Whether the queries attend to the map before they attend to one another.
        """
        super().__init__()
        self.self_attention = PostNormAttention(width=width, num_heads=num_heads, dropout=dropout)
        self.cross_attention = PostNormAttention(width=width, num_heads=num_heads, dropout=dropout)
        self.feed_forward = PostNormFeedForward(width=width, hidden=hidden, dropout=dropout)
        self.cross_first = cross_first

    def forward(
        self, states: Tensor, positions: Tensor, keys: Tensor, values: Tensor, *, allowed: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            states: The states (N, Q, C) of the queries.
            positions: The position codes (Q, C) of the queries.
            keys: The cells (N, L, C) of the map, with their position codes added.
            values: The cells (N, L, C) of the map.
            allowed: The cells that each query may attend to, (N, Q, L) bool; all by default.

        Returns:
            The new states (N, Q, C).
        """
        if self.cross_first:
            states = self.cross_attention(states, positions, keys, values, allowed=allowed)
        states = self.self_attention(states, positions, states + positions, states)
        if not self.cross_first:
            states = self.cross_attention(states, positions, keys, values, allowed=allowed)
        return self.feed_forward(states)


class QueryOutputs(nn.Module):
    """Predicts the class and the mask embedding of each query from its state."""

    def __init__(self, *, width: int, num_classes: int, mask_channels: int) -> None:
        """
        Args:
            width: The number of channels C of the states.
            num_classes: The number of classes K.
            mask_channels: The number of channels of the mask features, and thus of the mask embeddings.
        """
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, num_classes + 1)
        self.embed = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, mask_channels)
        )

    def forward(self, states: Tensor, features: Tensor) -> EmbeddedMasks:
        """Compute classes and masks from states (N, Q, C) and mask features (N, mask_channels, h, w)."""
        states = self.norm(states)
        return EmbeddedMasks(self.embed(states), features, self.classify(states))


def sine_positions(size: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Compute the position code of every cell of a map: alternating sines and cosines of y, then of x.

    Args:
        size: The size (H, W) of the map.
        width: The number of channels C, a multiple of 4.
        device: The device of the result.

    Returns:
        The codes (H * W, C) in single precision.
    """
    half = width // 2
    rates = 10000 ** (torch.arange(0, half, 2, device=device) / half)
    codes = []
    for side in size:
        places = torch.arange(1, side + 1, device=device) / (side + 1e-6) * (2 * math.pi)
        angles = places[:, None] / rates
        codes.append(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))
    height, width_cells = size
    y, x = codes[0][:, None].expand(-1, width_cells, -1), codes[1][None].expand(height, -1, -1)
    return torch.cat([y, x], dim=-1).flatten(0, 1)
