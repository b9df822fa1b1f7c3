"""StructToken's decoder blocks, each an extraction and feed-forward networks, and stacks of them.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III; letters as in
`parts.py`. Every block takes tokens and features and returns both, updated.

The paper's text and the released code differ in two points, which the argument `reading` decides together. In the
released code, attention between slices is scaled by 1 / sqrt(HW), and in SSE and PWE tokens and features share one
feed-forward network. In the text, the scale is 1 / sqrt(C), and tokens and features have separate networks.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from .extraction import CrossSliceExtraction, PointWiseExtraction, SelfSliceExtraction
from .parts import FeedForward

READINGS = ("released", "printed")


class CrossBlock(nn.Module):
    """The block of CSE: updates the tokens by extraction, then tokens and features by a feed-forward network each."""

    def __init__(
        self, *, extraction: nn.Module, token_ffn: nn.Module, feature_ffn: nn.Module | None, drop_path: float
    ) -> None:
        """
        Args:
            extraction: The module from tokens (N, K, H, W) and features (N, C, H, W) to an update (N, K, H, W).
            token_ffn: The feed-forward network of the tokens, including its residual.
            feature_ffn: The one of the features; None in the last block, whose features are not used further.
            drop_path: The rate of stochastic depth of the extraction.
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
            The updated S and F; without a `feature_ffn`, F is unchanged.
        """
        tokens = tokens + self.drop_path(self.extraction(tokens, features))
        tokens = self.token_ffn(tokens)
        return tokens, features if self.feature_ffn is None else self.feature_ffn(features)


class JointBlock(nn.Module):
    """The block of SSE and PWE, which updates tokens and features together, as slices of one tensor."""

    def __init__(self, *, num_classes: int, extraction: nn.Module, feed_forward: nn.Module, drop_path: float) -> None:
        """
        Args:
            num_classes: The number of classes K, which is the number of slices that are tokens.
            extraction: The module that updates the slices (N, K+C, H, W).
            feed_forward: The feed-forward network of the slices, including its residual.
            drop_path: The rate of stochastic depth of the extraction.
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


class SeparateFeedForward(nn.Module):
    """Separate feed-forward networks for the tokens and the features among the slices, as in the paper's text."""

    def __init__(self, *, num_classes: int, token_ffn: nn.Module, feature_ffn: nn.Module | None) -> None:
        """
        Args:
            num_classes: The number of classes K, which is the number of slices that are tokens.
            token_ffn: The network of the tokens, including its residual.
            feature_ffn: The network of the features; None in the last block, whose features are not used further.
        """
        super().__init__()
        self.num_classes, self.token_ffn, self.feature_ffn = num_classes, token_ffn, feature_ffn

    def forward(self, slices: Tensor) -> Tensor:
        """(N, K+C, H, W) to (N, K+C, H, W)."""
        tokens, features = slices[:, : self.num_classes], slices[:, self.num_classes :]
        features = features if self.feature_ffn is None else self.feature_ffn(features)
        return torch.cat([self.token_ffn(tokens), features], dim=1)


def cross_slice_blocks(
    *,
    num_classes: int,
    channels: int,
    num_blocks: int = 4,
    ffn: Mapping[str, Any] | None = None,
    drop_path: float = 0.1,
    reading: str = "released",
    scale: float | None = None,
) -> nn.ModuleList:
    """Create the blocks of StructToken-CSE.

    Args:
        num_classes: The number of classes K.
        channels: The number of channels C of the feature map.
        num_blocks: The number of blocks L.
        ffn: Extra keyword arguments for every `FeedForward`.
        drop_path: The rate of stochastic depth in the last block, rising linearly from 0.
        reading: Whether the blocks follow the released code, `released`, or the paper's text, `printed`.
        scale: The factor on the dot products of the attention between slices, for experiments; by default that of
            the reading.

    Raises:
        ValueError: The reading is unknown, or there is no block.
    """
    of_reading = _scale(channels, reading)
    scale = of_reading if scale is None else scale

    def make_block(place: int, rate: float) -> nn.Module:
        token_ffn, feature_ffn = (
            FeedForward(width, drop_path=rate, **(ffn or {})) for width in (num_classes, channels)
        )
        return CrossBlock(
            extraction=CrossSliceExtraction(num_classes=num_classes, channels=channels, scale=scale),
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
    ffn: Mapping[str, Any] | None = None,
    drop_path: float = 0.1,
    reading: str = "released",
) -> nn.ModuleList:
    """Create the blocks of StructToken-SSE; arguments as in `cross_slice_blocks`."""
    extraction = partial(SelfSliceExtraction, scale=_scale(channels, reading))
    return _joint_blocks(extraction, num_classes, channels, num_blocks, ffn, drop_path, reading)


def point_wise_blocks(
    *,
    num_classes: int,
    channels: int,
    num_blocks: int = 4,
    ffn: Mapping[str, Any] | None = None,
    drop_path: float = 0.1,
    reading: str = "released",
) -> nn.ModuleList:
    """Create the blocks of StructToken-PWE; arguments as in `cross_slice_blocks`."""
    _check_reading(reading)
    return _joint_blocks(PointWiseExtraction, num_classes, channels, num_blocks, ffn, drop_path, reading)


def _check_reading(reading: str) -> None:
    if reading not in READINGS:
        raise ValueError(f"reading is '{reading}'; wanted one of {', '.join(READINGS)}")


def _scale(channels: int, reading: str) -> float | None:
    """The scale of attention between slices; None means 1 / sqrt(HW)."""
    _check_reading(reading)
    return channels**-0.5 if reading == "printed" else None


def _joint_blocks(
    extraction: Callable[..., nn.Module],
    num_classes: int,
    channels: int,
    num_blocks: int,
    ffn: Mapping[str, Any] | None,
    drop_path: float,
    reading: str,
) -> nn.ModuleList:
    width = num_classes + channels

    def network(count: int, rate: float) -> nn.Module:
        return FeedForward(count, drop_path=rate, **(ffn or {}))

    def make_block(place: int, rate: float) -> nn.Module:
        if reading == "printed":
            feature_ffn = network(channels, rate) if place < num_blocks - 1 else None
            both: nn.Module = SeparateFeedForward(
                num_classes=num_classes, token_ffn=network(num_classes, rate), feature_ffn=feature_ffn
            )
        else:
            both = network(width, rate)
        return JointBlock(
            num_classes=num_classes, extraction=extraction(channels=width), feed_forward=both, drop_path=rate
        )

    return _stack(num_blocks, drop_path, make_block)


def _stack(num_blocks: int, drop_path: float, make_block: Callable[[int, float], nn.Module]) -> nn.ModuleList:
    """Create blocks whose rate of stochastic depth rises linearly from 0 to `drop_path`."""
    if num_blocks < 1:
        raise ValueError(f"num_blocks is {num_blocks}; wanted 1 or more")
    rates = [drop_path * place / max(num_blocks - 1, 1) for place in range(num_blocks)]
    return nn.ModuleList([make_block(place, rate) for place, rate in enumerate(rates)])
