"""The maps that SegViT's levels attend to, made of the backbone's: the part of `SegViTHead` that differs by backbone.

Each is called with the backbone's features, for a list of maps (N, H_i, W_i, D), the channels last. Its `map_ids` has a
number for each map, the same for one that comes several times.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from ..layers.feature_maps import select_maps


class LinearBases(nn.Module):
    """Chosen blocks of a plain vision transformer, the last one first, each through a linear layer and a norm."""

    def __init__(self, *, blocks: Sequence[int], channels: int, width: int) -> None:
        """
        Args:
            blocks: The numbers of the blocks whose outputs are the features `block0`, `block1` and so on.
            channels: C of each.
            width: The number of channels D.
        """
        super().__init__()
        self.in_features = [f"block{block}" for block in sorted(blocks, reverse=True)]
        self.map_ids = list(range(len(blocks)))
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width)) for _ in self.in_features
        )

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Features (N, C, H, W) to maps (N, H, W, D)."""
        return [
            project(x.permute(0, 2, 3, 1))
            for x, project in zip(select_maps(features, self.in_features), self.project, strict=True)
        ]


class ConvBases(nn.Module):
    """Stages of a hierarchical backbone, the coarsest first, each through a 1x1 convolution and a group norm."""

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
            channels: C_i of each stage, the finest first.
            width: The number of channels D.
            in_features: Names of the stages' maps, the finest first.
            num_groups: The number of groups of every norm.

        Raises:
            ValueError: Names and channels of different number, or groups that do not divide the width.
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
        """Features (N, C_i, H_i, W_i) to maps (N, H_i, W_i, D), the coarsest first."""
        return [
            project(x).permute(0, 2, 3, 1)
            for x, project in zip(select_maps(features, self.in_features), self.project, strict=True)
        ]


class Bases(Protocol):
    """What makes the maps that the levels of a `SegViTHead` attend to.

    Attributes:
        map_ids: A number for each map, equal ones for levels on the same map.
    """

    map_ids: Sequence[int]

    def __call__(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """The maps of the backbone to one map (N, H_i, W_i, D) a level, in the order of decoding."""


class Repeated(nn.Module):
    """The same maps for several levels: with levels of one layer, the mask of every layer is supervised."""

    def __init__(self, *, bases: Bases, times: int) -> None:
        """
        Args:
            bases: The module that makes the maps.
            times: The number of times that each list of maps is decoded.
        """
        super().__init__()
        self.bases, self.times, self.map_ids = bases, times, list(bases.map_ids) * times

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Features to maps (N, H, W, D)."""
        return self.bases(features) * self.times
