"""StructToken's decoder blocks and their parts.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III.
Letters: N images, K classes, C channels of the feature map, H x W its size. A *slice* is one channel, H x W numbers.

All convolutions carry biases and norms run over the channels of every pixel; in channels-last memory order that norm
needs no copy, which is why the head keeps its maps in that order.
"""

from collections.abc import Callable

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn


class Mapping(nn.Sequential):
    """The local re-mapping of slices, Eq. 3: 1x1, depth-wise 3x3, 1x1 convolutions, each normalised.

    (N, C, H, W) to (N, C, H, W). The paper names the convolutions; norms and GELUs follow the released code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1),
            LayerNorm2d(channels, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            LayerNorm2d(channels, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
            LayerNorm2d(channels, eps=1e-6),
        )


class FeedForward(nn.Module):
    """Feed-forward network with a grouped 3x3 convolution between its layers (section III-C).

    (N, C, H, W) to (N, C, H, W): residual, then GELU after the sum.
    """

    def __init__(
        self, channels: int, *, mlp_ratio: int = 4, conv: bool = True, groups: int | None = None, drop_path: float = 0.0
    ) -> None:
        """
        Args:
            channels: C.
            mlp_ratio: hidden channels over C.
            conv: whether the 3x3 convolution, its norm and GELU are there (Table III).
            groups: of the 3x3 convolution; C as in the released code, which leaves `mlp_ratio` channels a group.
            drop_path: rate of stochastic depth.
        """
        super().__init__()
        hidden = channels * mlp_ratio
        groups = channels if groups is None else groups
        if hidden % groups:
            raise ValueError(f"groups is {groups}; wanted a divisor of the {hidden} hidden channels")
        middle = (nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups), LayerNorm2d(hidden, eps=1e-5), nn.GELU())
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            LayerNorm2d(hidden, eps=1e-5),
            nn.GELU(),
            *(middle if conv else ()),
            nn.Conv2d(hidden, channels, 1),
            LayerNorm2d(channels, eps=1e-5),
        )
        self.drop_path = DropPath(drop_path)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.drop_path(self.layers(x)))


class PointWiseExtraction(nn.Module):
    """Point-wise extraction (PWE), Eqs. 8 and 9: mixing weights between all slices are learnt, not computed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map_in = Mapping(channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.map_out = Mapping(channels)

    def forward(self, slices: Tensor) -> Tensor:
        """(N, K+C, H, W) to (N, K+C, H, W)."""
        return self.map_out(self.mix(self.map_in(slices)))


class JointBlock(nn.Module):
    """A block that updates tokens and features together: extraction, then one feed-forward network on both.

    The text tells of two feed-forward networks; the published parameter counts are those of one on the concatenation.
    """

    def __init__(self, *, num_classes: int, extraction: nn.Module, feed_forward: nn.Module, drop_path: float) -> None:
        """
        Args:
            num_classes: K, where tokens end and features begin.
            extraction: (N, K+C, H, W) to (N, K+C, H, W).
            feed_forward: likewise, with its own residual.
            drop_path: rate of stochastic depth of the extraction.
        """
        super().__init__()
        self.num_classes = num_classes
        self.extraction = extraction
        self.feed_forward = feed_forward
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            tokens: S (N, K, H, W).
            features: F (N, C, H, W).

        Returns:
            The updated S and F, views of one tensor.
        """
        slices = torch.cat([tokens, features], dim=1)  # G, Eq. 4
        slices = slices + self.drop_path(self.extraction(slices))
        slices = self.feed_forward(slices)
        return slices[:, : self.num_classes], slices[:, self.num_classes :]  # Eq. 7


def _stack(num_blocks: int, drop_path: float, make_block: Callable[[float], nn.Module]) -> nn.ModuleList:
    """Blocks with stochastic depth rising linearly from 0 to `drop_path`."""
    if num_blocks < 1:
        raise ValueError(f"num_blocks is {num_blocks}; wanted 1 or more")
    rates = [drop_path * place / max(num_blocks - 1, 1) for place in range(num_blocks)]
    return nn.ModuleList([make_block(rate) for rate in rates])


def point_wise_blocks(
    *,
    num_classes: int,
    channels: int,
    num_blocks: int = 4,
    mlp_ratio: int = 4,
    ffn_conv: bool = True,
    ffn_groups: int | None = None,
    drop_path: float = 0.1,
) -> nn.ModuleList:
    """The blocks of StructToken-PWE.

    Args:
        num_classes: K.
        channels: C of the feature map.
        num_blocks: L.
        mlp_ratio: of the feed-forward networks.
        ffn_conv: whether these have the grouped convolution.
        ffn_groups: of that convolution; K+C by default.
        drop_path: rate in the last block, rising linearly from 0.
    """
    width = num_classes + channels

    def make_block(rate: float) -> nn.Module:
        ffn = FeedForward(width, mlp_ratio=mlp_ratio, conv=ffn_conv, groups=ffn_groups, drop_path=rate)
        return JointBlock(
            num_classes=num_classes, extraction=PointWiseExtraction(width), feed_forward=ffn, drop_path=rate
        )

    return _stack(num_blocks, drop_path, make_block)


class ConvBlock(nn.Module):
    """Pre-activation residual block on the K tokens of the last block: the logits (section III-A)."""

    def __init__(self, *, channels: int) -> None:
        """
        Args:
            channels: K.
        """
        super().__init__()
        self.layers = nn.Sequential(
            LayerNorm2d(channels, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            LayerNorm2d(channels, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, K, H, W) to (N, K, H, W)."""
        return x + self.layers(x)
