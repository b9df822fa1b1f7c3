"""The simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527, section 3): all levels from one map.

It follows the paper's description. There is no top-down path. Finer levels are computed by transposed convolutions of
stride 2, each of which halves the number of channels, and coarser levels by pooling. On every level a 1x1 and a 3x3
convolution follow, without bias and with a layer norm each.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.modeling import Backbone
from timm.layers import LayerNorm2d
from torch import Tensor, nn

# The stride of each level. p6 has no layers: it is p5 subsampled, for the largest anchors.
_STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
_SUBSAMPLED, _ITS_SOURCE = "p6", "p5"


class SimplePyramid(Backbone):
    """Computes levels p2 to p6, at strides 4 to 64, from one map of a plain backbone.

    Only the requested levels are built, since DistributedDataParallel rejects parameters that get no gradient. p6 has
    no weights: it takes every second cell of p5, which is built for it.
    """

    def __init__(
        self, *, net: Backbone, in_feature: str, out_channels: int = 256, out_features: Sequence[str] = tuple(_STRIDES)
    ) -> None:
        """
        Args:
            net: The backbone, such as `PlainViT`, or a component that wraps one.
            in_feature: The name of the backbone's map, whose stride must be a power of two.
            out_channels: The number of channels C of each level.
            out_features: The names of the levels to return, some of `p2` to `p6`.

        Raises:
            ValueError: The backbone has no such map, its stride is not a power of two, or a level is unknown.
        """
        super().__init__()
        shapes = net.output_shape()
        if in_feature not in shapes:
            raise ValueError(f"in_feature is '{in_feature}'; wanted a map of the backbone: {', '.join(shapes)}")
        if not out_features or not set(out_features) <= set(_STRIDES):
            raise ValueError(f"out_features are {list(out_features)}; wanted some of {', '.join(_STRIDES)}")
        stride, channels = shapes[in_feature].stride, shapes[in_feature].channels
        if not math.log2(stride).is_integer():
            raise ValueError(f"'{in_feature}' has stride {stride}; wanted a power of two, such as patches of 8 or 16")
        self.net, self._in_feature = net, in_feature
        self._out_features = [name for name in _STRIDES if name in out_features]
        self._out_feature_strides = {name: _STRIDES[name] for name in self._out_features}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        built = {_ITS_SOURCE if name == _SUBSAMPLED else name for name in self._out_features}
        self.levels = nn.ModuleDict(
            {name: _level(channels, out_channels, stride, _STRIDES[name]) for name in _STRIDES if name in built}
        )

    @property
    def size_divisibility(self) -> int:
        """The least common multiple of the backbone's divisibility and the strides of the levels with weights."""
        return math.lcm(max(self.net.size_divisibility, 1), *(_STRIDES[name] for name in self.levels))

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The constraints of the backbone with this pyramid's divisibility; newer versions of Detectron2 read them."""
        return {**getattr(self.net, "padding_constraints", {}), "size_divisibility": self.size_divisibility}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: The images (N, 3, H, W), whose sides are multiples of `size_divisibility`.

        Returns:
            The levels `p<i>` (N, C, H / 2**i, W / 2**i), with sizes rounded up.
        """
        x = self.net(images)[self._in_feature]
        maps = {name: level(x) for name, level in self.levels.items()}
        if _SUBSAMPLED in self._out_features:
            maps[_SUBSAMPLED] = F.max_pool2d(maps[_ITS_SOURCE], kernel_size=1, stride=2)
        return {name: maps[name] for name in self._out_features}


def _level(channels: int, out_channels: int, stride: int, wanted: int) -> nn.Sequential:
    """Build the layers that compute a level at stride `wanted` from a map at stride `stride`."""
    layers: list[nn.Module] = []
    while stride > wanted:
        if layers:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        stride, channels = stride // 2, channels // 2
    if stride < wanted:
        layers.append(nn.MaxPool2d(wanted // stride))
    for size in (1, 3):
        conv = nn.Conv2d(channels, out_channels, size, padding=size // 2, bias=False)
        layers += [conv, LayerNorm2d(out_channels)]
        channels = out_channels
    return nn.Sequential(*layers)
