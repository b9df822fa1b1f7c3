"""Modules that compute the maps which SegViT's levels attend to: the part of `SegViTHead` that depends on the backbone.

Each module turns the backbone's features into a list of maps (N, H_i, W_i, D), channels last. Its `map_ids` numbers the
maps; a map that occurs several times in the list has the same number each time.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from ..layers.feature_maps import select_maps


class LinearBases(nn.Module):
    """Projects chosen blocks of a plain vision transformer, the last one first, by a linear layer and a norm each."""

    def __init__(self, *, blocks: Sequence[int], channels: int, width: int) -> None:
        """
        Args:
            blocks: The numbers of the blocks whose outputs are the features `block0`, `block1` and so on.
            channels: The number of channels C of each of these features.
            width: The number of channels D.
        """
        super().__init__()
        self.in_features = [f"block{block}" for block in sorted(blocks, reverse=True)]
        self.map_ids = list(range(len(blocks)))
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width)) for _ in self.in_features
        )

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Turn features (N, C, H, W) into maps (N, H, W, D)."""
        return [
            project(x.permute(0, 2, 3, 1))
            for x, project in zip(select_maps(features, self.in_features), self.project, strict=True)
        ]


class ConvBases(nn.Module):
    """Projects the stages of a hierarchical backbone, coarsest first, by a 1x1 convolution and a group norm each."""

    def __init__(
        self,
        *,
        channels: Sequence[int],
        width: int,
        in_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        num_groups: int = 32,
    ) -> None:
        """
        Args:
            channels: The number of channels C_i of each stage, the finest first.
            width: The number of channels D.
            in_features: The names of the stages' maps, the finest first.
            num_groups: The number of groups of every norm.

        Raises:
            ValueError: The numbers of names and channels differ, or the number of groups does not divide the width.
        """
        super().__init__()
        if len(in_features) != len(channels):
            raise ValueError(f"there are {len(in_features)} in_features and {len(channels)} channels; wanted as many")
        if width % num_groups:
            raise ValueError(f"num_groups is {num_groups}; wanted a divisor of the width, {width}")
        self.in_features, self.map_ids = list(reversed(in_features)), list(range(len(in_features)))
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1), nn.GroupNorm(num_groups, width)) for count in reversed(channels)
        )

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Turn features (N, C_i, H_i, W_i) into maps (N, H_i, W_i, D), the coarsest first."""
        return [
            project(x).permute(0, 2, 3, 1)
            for x, project in zip(select_maps(features, self.in_features), self.project, strict=True)
        ]


class Bases(Protocol):
    """The interface of modules that compute the maps which the levels of a `SegViTHead` attend to.

    Attributes:
        map_ids: A number for each map; levels on the same map have the same number.
    """

    map_ids: Sequence[int]

    def __call__(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Compute one map (N, H_i, W_i, D) per level, in the order of decoding, from the backbone's maps."""


class Repeated(nn.Module):
    """Repeats the same maps for several levels. With one-layer levels, the mask of every layer is supervised."""

    def __init__(self, *, bases: Bases, times: int) -> None:
        """
        Args:
            bases: The module that makes the maps.
            times: The number of times that each list of maps is decoded.
        """
        super().__init__()
        self.bases, self.times, self.map_ids = bases, times, list(bases.map_ids) * times

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Turn features into maps (N, H, W, D)."""
        return self.bases(features) * self.times
