"""Layers of StructToken's decoder: the slice mapping, the feed-forward network and the final refinement.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III.
Letters: N images, K classes, C channels of the feature map, H x W its size. A *slice* is one channel, an H x W map.

All convolutions have biases, and norms run over the channels of every pixel. In channels-last memory order such a norm
needs no copy, which is why the head keeps its maps in that order.
"""

from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from ..layers.point_conv import PointConv2d


class SliceMapping(nn.Sequential):
    """The local re-mapping of slices, Eq. 3: 1x1, depth-wise 3x3, 1x1 convolutions, each normalised.

    (N, C, H, W) to (N, C, H, W). The paper names the convolutions; norms and GELUs follow the released code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            PointConv2d(channels, channels),
            LayerNorm2d(channels, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            LayerNorm2d(channels, eps=1e-6),
            nn.GELU(),
            PointConv2d(channels, channels),
            LayerNorm2d(channels, eps=1e-6),
        )


class FeedForward(nn.Module):
    """Feed-forward network with a grouped 3x3 convolution between its layers (section III-C).

    (N, C, H, W) to (N, C, H, W): residual, then GELU after the sum.
    """

    def __init__(
        self, channels: int, *, mlp_ratio: int = 4, conv: bool = True, group_size: int = 4, drop_path: float = 0.0
    ) -> None:
        """
        Args:
            channels: The number of channels C.
            mlp_ratio: The ratio of hidden channels to C.
            conv: Whether the 3x3 convolution, its norm and GELU are present (Table III).
            group_size: The number of channels in a group of the 3x3 convolution; 4 in the released code, 1 for a
                depth-wise convolution.
            drop_path: The rate of stochastic depth.
        """
        super().__init__()
        hidden = channels * mlp_ratio
        if hidden % group_size:
            raise ValueError(f"group_size is {group_size}; wanted a divisor of the {hidden} hidden channels")
        grouped = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden // group_size)
        middle = (grouped, LayerNorm2d(hidden, eps=1e-5), nn.GELU())
        self.layers = nn.Sequential(
            PointConv2d(channels, hidden),
            LayerNorm2d(hidden, eps=1e-5),
            nn.GELU(),
            *(middle if conv else ()),
            PointConv2d(hidden, channels),
            LayerNorm2d(channels, eps=1e-5),
        )
        self.drop_path = DropPath(drop_path)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.drop_path(self.layers(x)))


class ConvBlock(nn.Module):
    """Pre-activation residual block from the K tokens of the last block to the logits (section III-A)."""

    def __init__(self, *, channels: int) -> None:
        """
        Args:
            channels: The number of classes K.
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
