"""The three ways in which StructToken extracts information from the feature map into tokens: CSE, SSE and PWE.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III-B.
Letters as in `parts.py`.
"""

from torch import Tensor, nn

from ..layers.point_conv import PointConv2d
from .parts import SliceMapping


def slice_attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """Attention between slices, Eqs. 2 and 6: each output slice is a weighted mean of the slices of `value`.

    The paper divides by sqrt(C), the released code by sqrt(HW), since the dot products have HW terms.

    Args:
        query: The queries (N, A, H, W), one per slice.
        key: The keys (N, B, H, W).
        value: The values (N, B, H, W).
        scale: The factor on the dot products, by default 1 / sqrt(HW).

    Returns:
        The attended slices (N, A, H, W).
    """
    size = query.shape[-2:]
    query, key, value = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (query, key, value))  # (N, HW, slices)
    # Scale before the product, since sums over so many positions would overflow in float16.
    factor = query.shape[1] ** -0.5 if scale is None else scale
    weights = ((query * factor).mT @ key).softmax(dim=-1)  # (N, A, B)
    return (value @ weights.mT).unflatten(1, size).permute(0, 3, 1, 2)


class CrossSliceExtraction(nn.Module):
    """Cross-slice extraction (CSE), Eqs. 1 and 2: tokens attend to the slices of the feature map."""

    def __init__(self, *, num_classes: int, channels: int, scale: float | None = None) -> None:
        """
        Args:
            num_classes: The number of classes K.
            channels: The number of channels C of the feature map.
            scale: See `slice_attention`.
        """
        super().__init__()
        self.scale = scale
        self.map_query, self.map_key, self.map_value = (
            SliceMapping(num_classes),
            SliceMapping(channels),
            SliceMapping(channels),
        )
        self.map_out = SliceMapping(num_classes)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Map tokens (N, K, H, W) and features (N, C, H, W) to an update of the tokens (N, K, H, W)."""
        key, value = self.map_key(features), self.map_value(features)
        return self.map_out(slice_attention(self.map_query(tokens), key, value, scale=self.scale))


class SelfSliceExtraction(nn.Module):
    """Self-slice extraction (SSE), Eqs. 5 and 6: self-attention among tokens and slices of the feature map."""

    def __init__(self, *, channels: int, scale: float | None = None) -> None:
        """
        Args:
            channels: The number of slices K+C.
            scale: See `slice_attention`.
        """
        super().__init__()
        self.scale = scale
        self.map_query, self.map_key, self.map_value = (
            SliceMapping(channels),
            SliceMapping(channels),
            SliceMapping(channels),
        )
        self.map_out = SliceMapping(channels)

    def forward(self, slices: Tensor) -> Tensor:
        """(N, K+C, H, W) to (N, K+C, H, W)."""
        query, key, value = self.map_query(slices), self.map_key(slices), self.map_value(slices)
        return self.map_out(slice_attention(query, key, value, scale=self.scale))


class PointWiseExtraction(nn.Module):
    """Point-wise extraction (PWE), Eqs. 8 and 9: mixes all slices with learnt weights in place of attention."""

    def __init__(self, *, channels: int) -> None:
        """
        Args:
            channels: The number of slices K+C.
        """
        super().__init__()
        self.map_in = SliceMapping(channels)
        self.mix = PointConv2d(channels, channels)
        self.map_out = SliceMapping(channels)

    def forward(self, slices: Tensor) -> Tensor:
        """(N, K+C, H, W) to (N, K+C, H, W)."""
        return self.map_out(self.mix(self.map_in(slices)))
