"""Pixel decoders of mask classifiers, which compute the mask features from a backbone's maps.

Papers: Cheng et al.: MaskFormer (NeurIPS 2021), section 3.3; Mask2Former (CVPR 2022), section 3.2.1. Letters: N images,
C channels, D channels of the mask features, H_i x W_i the size of map i. The strides of the maps are 4, 8, 16, 32.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.point_conv import PointConv2d, zero_bias
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from .deformable import DeformableAttention, DeformableLayer
from .deformable_sampling import LevelLayout
from .query_decoder import sine_positions

_GROUPS = 32


class FPNPixelDecoder(nn.Module):
    """MaskFormer's pixel decoder: a feature pyramid network that ends at the finest map."""

    def __init__(self, *, channels: Sequence[int], width: int = 256, mask_channels: int = 256) -> None:
        """
        Args:
            channels: The number of channels of each map, from the finest to the coarsest.
            width: The number of channels C of the pyramid, a multiple of 32.
            mask_channels: The number of channels D.
        """
        super().__init__()
        *finer, coarsest = channels
        self.coarsest = _convolution(coarsest, width, 3)
        self.laterals = nn.ModuleList(_convolution(count, width, 1, relu=False) for count in finer)
        self.outputs = nn.ModuleList(_convolution(width, width, 3) for _ in finer)
        self.mask_features = _filled(nn.Conv2d(width, mask_channels, 3, padding=1))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
            maps: The maps (N, C_i, H_i, W_i) of the backbone, from the finest to the coarsest.

        Returns:
            The mask features (N, D, H_1, W_1), and the map that the queries attend to: the unchanged coarsest map.
        """
        x = self.coarsest(maps[-1])
        for y, lateral, output in zip(maps[-2::-1], self.laterals[::-1], self.outputs[::-1], strict=True):
            x = output(lateral(y) + F.interpolate(x, size=y.shape[-2:], mode="nearest"))
        return self.mask_features(x), [maps[-1]]


class DeformablePixelDecoder(nn.Module):
    """Mask2Former's pixel decoder: deformable attention over all maps but the finest, which is added at the end.

    It runs in single precision even under autocast, as in the authors' code.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        width: int = 256,
        mask_channels: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        hidden: int = 1024,
        sampling: str = "embedding_bag",
    ) -> None:
        """
        Args:
            channels: The number of channels of each map, from the finest to the coarsest.
            width: The number of channels C, a multiple of 32.
            mask_channels: The number of channels D.
            num_layers: The number of layers of the encoder.
            num_heads: The number of heads of its attention.
            num_points: The number of points of a head on a level.
            hidden: The number of channels within its feed-forward networks.
            sampling: The implementation of deformable sampling; see `DeformableAttention`.
        """
        super().__init__()
        finest, *coarser = channels
        self.num_points = num_points
        self.projections = nn.ModuleList(_projection(count, width) for count in coarser[::-1])
        self.level_embeddings = nn.Parameter(torch.randn(len(coarser), width))
        self.layers = nn.ModuleList(
            DeformableLayer(
                attention=DeformableAttention(
                    width=width,
                    num_heads=num_heads,
                    num_levels=len(coarser),
                    num_points=num_points,
                    sampling=sampling,
                ),
                width=width,
                hidden=hidden,
            )
            for _ in range(num_layers)
        )
        self.lateral = _convolution(finest, width, 1, relu=False)
        self.output = _convolution(width, width, 3)
        self.mask_features = _filled(PointConv2d(width, mask_channels))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
            maps: (N, C_i, H_i, W_i) each, from the finest to the coarsest.

        Returns:
            The map of the masks (N, D, H_1, W_1), and what the queries attend to: (N, C, H_i, W_i) of all maps but the
            finest, from the coarsest on.
        """
        with torch.autocast(maps[0].device.type, enabled=False):
            finest, *coarser = (at_least_single(x) for x in maps)
            levels = self._encode(coarser[::-1])
            upsampled = resize(levels[-1], finest.shape[-2:])
            return self.mask_features(self.output(self.lateral(finest) + upsampled)), levels

    def _encode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Encode maps, given from the coarsest on, as maps (N, C, H_i, W_i) in channels-last memory format."""
        sizes = [tuple(x.shape[-2:]) for x in maps]
        places = [
            sine_positions(size, embedding.shape[0], embedding.device) + embedding
            for size, embedding in zip(sizes, self.level_embeddings, strict=True)
        ]
        projected = [project(x).flatten(2) for project, x in zip(self.projections, maps, strict=True)]
        cells, positions = torch.cat(projected, dim=2).transpose(1, 2).contiguous(), torch.cat(places)
        layout = LevelLayout.of(sizes, num_points=self.num_points, device=cells.device)
        for layer in self.layers:
            cells = layer(cells, positions, layout)
        levels = cells.split([height * width for height, width in sizes], dim=1)
        return [x.unflatten(1, size).permute(0, 3, 1, 2) for x, size in zip(levels, sizes, strict=True)]


def _projection(channels: int, width: int) -> nn.Sequential:
    convolution = PointConv2d(channels, width)
    nn.init.xavier_uniform_(convolution.weight)
    zero_bias(convolution)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, width))


def _convolution(channels: int, width: int, side: int, *, relu: bool = True) -> nn.Sequential:
    convolution: nn.Conv2d
    if side == 1:
        convolution = PointConv2d(channels, width, bias=False)
    else:
        convolution = nn.Conv2d(channels, width, side, padding=side // 2, bias=False)
    layers = [_filled(convolution), nn.GroupNorm(_GROUPS, width)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _filled(convolution: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution as Caffe2's 'Xavier' filler does: uniform, variance 1 / number of inputs, bias 0."""
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    zero_bias(convolution)
    return convolution
