"""StructToken's decoder blocks: an extraction and feed-forward networks, and stacks of them.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III; letters as in
`parts.py`. Every block takes tokens and features and returns both, updated.
"""

from collections.abc import Callable, Mapping

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from .extraction import CrossSliceExtraction, PointWiseExtraction, SelfSliceExtraction
from .parts import FeedForward


class CrossBlock(nn.Module):
    """The block of CSE: tokens are extracted, then tokens and features go through a feed-forward network each."""

    def __init__(
        self, *, extraction: nn.Module, token_ffn: nn.Module, feature_ffn: nn.Module | None, drop_path: float
    ) -> None:
        """
        Args:
            extraction: (N, K, H, W) and (N, C, H, W) to (N, K, H, W).
            token_ffn: on the tokens, with its own residual.
            feature_ffn: on the features; None in the last block, after which nobody reads them.
            drop_path: rate of stochastic depth of the extraction.
        """
        super().__init__()
        self.extraction = extraction
        self.token_ffn = token_ffn
        self.feature_ffn = feature_ffn
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            tokens: S (N, K, H, W).
            features: F (N, C, H, W).

        Returns:
            The updated S and F; F as it came where there is no `feature_ffn`.
        """
        tokens = tokens + self.drop_path(self.extraction(tokens, features))
        tokens = self.token_ffn(tokens)
        return tokens, features if self.feature_ffn is None else self.feature_ffn(features)


class JointBlock(nn.Module):
    """The block of SSE and PWE, which updates tokens and features together, as slices of one tensor.

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


def cross_slice_blocks(
    *,
    num_classes: int,
    channels: int,
    num_blocks: int = 4,
    ffn: Mapping[str, object] | None = None,
    drop_path: float = 0.1,
) -> nn.ModuleList:
    """The blocks of StructToken-CSE.

    Args:
        num_classes: K.
        channels: C of the feature map.
        num_blocks: L.
        ffn: further arguments of every `FeedForward`.
        drop_path: rate in the last block, rising linearly from 0.
    """

    def make_block(place: int, rate: float) -> nn.Module:
        token_ffn, feature_ffn = (
            FeedForward(width, drop_path=rate, **(ffn or {})) for width in (num_classes, channels)
        )
        return CrossBlock(
            extraction=CrossSliceExtraction(num_classes=num_classes, channels=channels),
            token_ffn=token_ffn,
            feature_ffn=feature_ffn if place < num_blocks - 1 else None,
            drop_path=rate,
        )

    return _stack(num_blocks, drop_path, make_block)


def self_slice_blocks(
    *,
    num_classes: int,
    channels: int,
    num_blocks: int = 4,
    ffn: Mapping[str, object] | None = None,
    drop_path: float = 0.1,
) -> nn.ModuleList:
    """The blocks of StructToken-SSE; arguments as in `cross_slice_blocks`."""
    return _joint_blocks(SelfSliceExtraction, num_classes, channels, num_blocks, ffn, drop_path)


def point_wise_blocks(
    *,
    num_classes: int,
    channels: int,
    num_blocks: int = 4,
    ffn: Mapping[str, object] | None = None,
    drop_path: float = 0.1,
) -> nn.ModuleList:
    """The blocks of StructToken-PWE; arguments as in `cross_slice_blocks`."""
    return _joint_blocks(PointWiseExtraction, num_classes, channels, num_blocks, ffn, drop_path)


def _joint_blocks(
    extraction: Callable[..., nn.Module],
    num_classes: int,
    channels: int,
    num_blocks: int,
    ffn: Mapping[str, object] | None,
    drop_path: float,
) -> nn.ModuleList:
    width = num_classes + channels

    def make_block(place: int, rate: float) -> nn.Module:
        return JointBlock(
            num_classes=num_classes,
            extraction=extraction(channels=width),
            feed_forward=FeedForward(width, drop_path=rate, **(ffn or {})),
            drop_path=rate,
        )

    return _stack(num_blocks, drop_path, make_block)


def _stack(num_blocks: int, drop_path: float, make_block: Callable[[int, float], nn.Module]) -> nn.ModuleList:
    """Blocks with stochastic depth rising linearly from 0 to `drop_path`."""
    if num_blocks < 1:
        raise ValueError(f"num_blocks is {num_blocks}; wanted 1 or more")
    rates = [drop_path * place / max(num_blocks - 1, 1) for place in range(num_blocks)]
    return nn.ModuleList([make_block(place, rate) for place, rate in enumerate(rates)])
