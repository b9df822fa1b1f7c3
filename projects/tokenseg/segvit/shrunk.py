"""SegViT's Shrunk structure: the backbone continues with fewer tokens, and the head restores a full-size map.

Paper: SegViT (NeurIPS 2022), section 3.2 and Fig. 3: query-based down-sampling (QD) and up-sampling (QU); Table 7 lists
the alternatives. QD is a part of `PlainViT`, QU a part of `SegViTHead`.

Letters: N images, C channels of the backbone, D of the head, H x W the grid of the patches.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.feature_maps import select_maps
from ..layers.patch_codes import sine_codes
from ..layers.resize import always_fits
from .head import Decoder, DecoderLayer


class NearestSampling(nn.Module):
    """Keeps every second row and column of the grid."""

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) to (N, ceil(H / 2), ceil(W / 2), C)."""
        return grid[:, ::2, ::2]


class ConvSampling(nn.Module):
    """A 2x2 convolution with stride 2 on the grid, which is zero-padded to even sides."""

    def __init__(self, *, channels: int) -> None:
        """
        Args:
            channels: The number of channels C.
        """
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) to (N, ceil(H / 2), ceil(W / 2), C)."""
        height, width = grid.shape[1:3]
        padded = F.pad(grid.permute(0, 3, 1, 2), (0, width % 2, 0, height % 2))
        return self.conv(padded).permute(0, 2, 3, 1)


class QueryDownsample(nn.Module):
    """QD: in one block, queries and residual use sampled tokens, while keys and values use all tokens.

    The block's own weights are used. Class token and registers are kept.
    """

    def __init__(self, *, block: int, sample: nn.Module) -> None:
        """
        Args:
            block: The number of the block that samples, counted from 0; at least 1.
            sample: The module that halves the sides of a grid (N, H, W, C), rounded up.
        """
        super().__init__()
        self.block, self.sample = block, sample

    def forward(self, block: Block, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """
        Args:
            block: The block of timm's VisionTransformer that runs.
            tokens: The tokens (N, T, C), the last H * W of which are the patches.
            grid: The grid (H, W) of the patches.

        Returns:
            (N, T - H * W + ceil(H / 2) * ceil(W / 2), C).
        """
        queries = _sampled(self.sample, tokens, grid)
        attended = _attend(block.attn, block.norm1(queries), block.norm1(tokens))
        queries = queries + block.drop_path1(block.ls1(attended))
        return queries + block.drop_path2(block.ls2(block.mlp(block.norm2(queries))))


class TokenDownsample(nn.Module):
    """Samples all tokens before an otherwise unchanged block (Table 7, 'QKV')."""

    def __init__(self, *, block: int, sample: nn.Module) -> None:
        """
        Args:
            block: The number of the block before which tokens are sampled, counted from 0; at least 1.
            sample: The module that samples the grid, as in `QueryDownsample`.
        """
        super().__init__()
        self.block, self.sample = block, sample

    def forward(self, block: Block, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Arguments and shapes as in `QueryDownsample`."""
        return block(_sampled(self.sample, tokens, grid))


def _sampled(sample: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    num_prefix = tokens.shape[1] - grid[0] * grid[1]
    patches = sample(tokens[:, num_prefix:].unflatten(1, grid)).flatten(1, 2)
    return torch.cat([tokens[:, :num_prefix], patches], dim=1) if num_prefix else patches


def _attend(attention: Any, queries: Tensor, memory: Tensor) -> Tensor:
    """Run timm's self-attention with separate queries (N, T', C) on tokens (N, T, C), which gives (N, T', C)."""
    weight, bias, width = attention.qkv.weight, attention.qkv.bias, attention.attn_dim
    query = F.linear(queries, weight[:width], None if bias is None else bias[:width])
    key, value = F.linear(memory, weight[width:], None if bias is None else bias[width:]).chunk(2, dim=-1)
    query, key, value = (x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    query, key = attention.q_norm(query), attention.k_norm(key)
    if attention.fused_attn:
        dropout = attention.attn_drop.p if attention.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    else:
        mixed = attention.attn_drop(((query * attention.scale) @ key.transpose(2, 3)).softmax(dim=-1)) @ value
    mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
    if attention.gate is not None:
        mixed = mixed * attention.gate(queries).sigmoid()
    return attention.proj_drop(attention.proj(mixed))


class QueryUpsample(nn.Module):
    """QU: learnt queries on the full grid attend to a map from before QD, then to the last map, which is half as large.

    Used as the argument `bases` of `SegViTHead`; it gives one map.
    """

    map_ids: Sequence[int] = (0,)

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        channels: int,
        width: int,
        img_size: int,
        stride: int,
        num_heads: int,
        num_layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        """
        Args:
            blocks: The numbers of the blocks whose outputs are attended to, the lowest first; that one lies before QD
                and has the full grid of patches.
            channels: The number of channels C.
            width: The number of channels D.
            img_size: The side in pixels of the square input whose grid has the size of the queries: the training crop.
            stride: The side of a patch in pixels.
            num_heads: The number of heads of every attention.
            num_layers: The number of decoder layers for each block.
            dropout: The rate of dropout in every `DecoderLayer`.

        Raises:
            ValueError: `stride` does not divide `img_size`.
        """
        super().__init__()
        if img_size % stride:
            raise ValueError(f"img_size is {img_size}; wanted a multiple of the stride, {stride}")
        side, self.channels = img_size // stride, channels
        self.in_features = [f"block{block}" for block in sorted(blocks)]
        self.queries = nn.Parameter(torch.empty(1, width, side, side))
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width)) for _ in self.in_features
        )
        self.layers = nn.ModuleList(
            Decoder(
                DecoderLayer(width=width, num_heads=num_heads, dropout=dropout, gives_masks=False)
                for _ in range(num_layers)
            )
            for _ in self.in_features
        )
        nn.init.normal_(self.queries)

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """
        Args:
            features: (N, C, H, W) of the lowest block, (N, C, ceil(H / 2), ceil(W / 2)) of the last one.

        Returns:
            One map (N, H, W, D).

        Raises:
            ValueError: The last map does not have half the sides, so QD is not between the blocks.
        """
        maps = select_maps(features, self.in_features)
        size, last = maps[0].shape[-2:], maps[-1].shape[-2:]
        half = tuple((side + 1) // 2 for side in size)
        if tuple(last) != half:
            raise ValueError(
                f"{self.in_features[-1]} has a grid of {last[0]}x{last[1]} and {self.in_features[0]} of "
                f"{size[0]}x{size[1]}; wanted the last of {half[0]}x{half[1]}, halved by a downsample.block after the "
                "first of out_blocks"
            )
        tokens = self._queries_at(size).flatten(2).transpose(1, 2).expand(maps[0].shape[0], -1, -1)
        for x, project, layers in zip(maps, self.project, self.layers, strict=True):
            memory = project(x.flatten(2).transpose(1, 2))
            for layer in layers.children():
                tokens, _ = layer(tokens, memory)
        return [tokens.unflatten(1, size)]

    def token_part(self) -> nn.Module:
        """Return the last layer, whose tokens are the cells of the map."""
        return list(self.layers[-1].children())[-1]

    def _queries_at(self, size: torch.Size) -> Tensor:
        """Return the queries (1, D, *size), resampled if the grid has another size."""
        if always_fits(self.queries, size):
            return self.queries
        return F.interpolate(self.queries, size=tuple(size), mode="bicubic", align_corners=False)


class TiedQueryUpsample(QueryUpsample):
    """QU whose queries attend to their own position from the start; not in the paper.

    QU's random queries can only find their positions through the position information in the features. If there is
    little of it, as in a backbone without long pretraining, the queries collapse to one vector first (MINIATURE.md).
    Here every query is initialised with the projected sine code of its position, and the query and key layers are
    equal, so a query attends to features with the same code, as produced by a `PlainViT` with sine codes.
    """

    def begin_last(self) -> None:
        """Tie the initial weights; the head calls this after all other weights have been drawn."""
        height, width = self.queries.shape[2:]
        with torch.no_grad():
            codes = self.project[0](sine_codes((height, width), self.channels))
            self.queries.copy_(codes.T.unflatten(1, (height, width))[None])
            for layer in self.layers.modules():
                if isinstance(layer, DecoderLayer):
                    layer.cross_attention.query.weight.copy_(layer.cross_attention.key.weight)
