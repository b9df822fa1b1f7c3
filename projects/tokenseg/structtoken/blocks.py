"""StructToken's decoder blocks: an extraction and feed-forward networks, and stacks of them.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III; letters as in
`parts.py`. Every block takes tokens and features and returns both, updated.

The text and the released code differ in two points, which the `reading` of a stack of blocks decides together. As
released, attention between slices is scaled by 1 / sqrt(HW), and one feed-forward network works on tokens and features
together in SSE and PWE. As printed, the scale is 1 / sqrt(C), and tokens and features have a network each.
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
    """The block of CSE: tokens are extracted, then tokens and features go through a feed-forward network each."""

    def __init__(
        self, *, extraction: nn.Module, token_ffn: nn.Module, feature_ffn: nn.Module | None, drop_path: float
    ) -> None:
        """
        Args:
            extraction: (N, K, H, W) and (N, C, H, W) to (N, K, H, W).
            token_ffn: On the tokens, with its own residual.
            feature_ffn: On the features; None in the last block, after which nobody reads them.
            drop_path: Rate of stochastic depth of the extraction.
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
    """The block of SSE and PWE, which updates tokens and features together, as slices of one tensor."""

    def __init__(self, *, num_classes: int, extraction: nn.Module, feed_forward: nn.Module, drop_path: float) -> None:
        """
        Args:
            num_classes: K, where tokens end and features begin.
            extraction: (N, K+C, H, W) to (N, K+C, H, W).
            feed_forward: Likewise, with its own residual.
            drop_path: Rate of stochastic depth of the extraction.
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
    """A feed-forward network each for the tokens and the features among the slices, as the text has it."""

    def __init__(self, *, num_classes: int, token_ffn: nn.Module, feature_ffn: nn.Module | None) -> None:
        """
        Args:
            num_classes: The number of classes K, where tokens end and features begin.
            token_ffn: The network on the tokens, with its own residual.
            feature_ffn: The network on the features; None in the last block, after which nobody reads them.
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
) -> nn.ModuleList:
    """The blocks of StructToken-CSE.

    Args:
        num_classes: The number of classes K.
        channels: The number of channels C of the feature map.
        num_blocks: The number of blocks L.
        ffn: Further arguments of every `FeedForward`.
        drop_path: The rate of stochastic depth in the last block, rising linearly from 0.
        reading: Whether the blocks are those of the released code, `released`, or of the text, `printed`.

    Raises:
        ValueError: An unknown reading, or no block.
    """
    scale = _scale(channels, reading)

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
    """The blocks of StructToken-SSE; arguments as in `cross_slice_blocks`."""
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
    """The blocks of StructToken-PWE; arguments as in `cross_slice_blocks`."""
    _check_reading(reading)
    return _joint_blocks(PointWiseExtraction, num_classes, channels, num_blocks, ffn, drop_path, reading)


def _check_reading(reading: str) -> None:
    if reading not in READINGS:
        raise ValueError(f"reading is '{reading}'; wanted one of {', '.join(READINGS)}")


def _scale(channels: int, reading: str) -> float | None:
    """What attention between slices is scaled by; None is 1 / sqrt(HW)."""
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
    """Blocks with stochastic depth rising linearly from 0 to `drop_path`."""
    if num_blocks < 1:
        raise ValueError(f"num_blocks is {num_blocks}; wanted 1 or more")
    rates = [drop_path * place / max(num_blocks - 1, 1) for place in range(num_blocks)]
    return nn.ModuleList([make_block(place, rate) for place, rate in enumerate(rates)])
