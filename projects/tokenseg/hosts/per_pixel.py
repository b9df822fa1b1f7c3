"""Plain per-pixel classification: a head of any layers, and trivial backbones for the baselines of a data set."""

import itertools
from collections.abc import Sequence

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY, Backbone
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import Tensor, nn

from ..backbones.norm import convert_batch_norm
from ..losses.pixel import pixel_cross_entropy


@SEM_SEG_HEADS_REGISTRY.register()
class PerPixelHead(nn.Module):
    """Layers that end in K channels, with cross entropy."""

    def __init__(self, *, in_feature: str, layers: nn.Module, ignore_value: int = 255) -> None:
        """
        Args:
            in_feature: name of the backbone's map.
            layers: (N, C, H, W) to logits (N, K, H', W').
            ignore_value: label of pixels that do not count.
        """
        super().__init__()
        self.in_feature, self.layers, self.ignore_value = in_feature, layers, ignore_value

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: of the backbone; `in_feature` is (N, C, H, W).
            targets: in training, (N, h, w) class ids or `ignore_value`.

        Returns:
            In training None and the loss `loss_sem_seg`; in inference the logits and no losses.
        """
        logits = self.layers(features[self.in_feature])
        if not self.training:
            return logits, {}
        return None, {"loss_sem_seg": pixel_cross_entropy(logits, targets, ignore_value=self.ignore_value)}

    def token_maps(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps of each class, for pictures: the logits, and of named layers in a row all before them that have as
        many channels. Title -> (N, K, h, w).

        Args:
            features: of the backbone.
        """
        x = features[self.in_feature]
        if not isinstance(self.layers, nn.Sequential):
            return {"logits": self.layers(x)}
        maps = {}
        for name, layer in self.layers.named_children():
            x = layer(x)
            maps[name.replace("_", " ")] = x
        *before, last = maps
        return {title: maps[title] for title in before if maps[title].shape[1] == x.shape[1]} | {"logits": maps[last]}


class RawPixels(Backbone):
    """The normalised image itself, as the feature `pixels` at stride 1."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"pixels": ShapeSpec(channels=3, stride=1)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to itself."""
        return {"pixels": images}


class PixelPositions(Backbone):
    """Where a pixel lies and nothing of what it shows: sines and cosines of x and y, as `positions` at stride 1."""

    def __init__(self, *, num_frequencies: int = 6) -> None:
        """
        Args:
            num_frequencies: per axis; the i-th goes through 2**i / 2 periods over the image.
        """
        super().__init__()
        self.num_frequencies = num_frequencies

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"positions": ShapeSpec(channels=4 * self.num_frequencies, stride=1)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to (N, 4 * frequencies, H, W)."""
        count, _, height, width = images.shape
        y, x = (torch.linspace(0, 1, side, device=images.device) for side in (height, width))
        frequencies = torch.pi * 2.0 ** torch.arange(self.num_frequencies, device=images.device)
        angles = torch.stack(torch.meshgrid(y, x, indexing="ij"))[None] * frequencies[:, None, None, None]
        codes = torch.cat([angles.sin(), angles.cos()]).flatten(0, 1)  # (2 * frequencies * axes, H, W)
        return {"positions": codes.expand(count, -1, -1, -1)}


def point_layers(*, channels: Sequence[int]) -> nn.Sequential:
    """1x1 convolutions with ReLUs between them.

    Args:
        channels: of the input, of every hidden layer, and of the output.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(channels):
        layers += [nn.Conv2d(width_in, width_out, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def residual_layers(*, channels: int, num_classes: int, num_blocks: int = 4, norm: str = "SyncBN") -> nn.Sequential:
    """1x1 convolution to K channels, residual blocks on them, 1x1 convolution to the logits.

    The per-pixel counterpart of StructToken's decoder (IEEE TCSVT 2023, section IV-E), whose maps have a slice for
    every class too.

    Args:
        channels: C of the feature map.
        num_classes: K.
        num_blocks: of two 3x3 convolutions each.
        norm: kind of the batch norms, see `convert_batch_norm`.

    Raises:
        ValueError: an unknown norm.
    """
    layers = nn.Sequential()
    layers.add_module("projection", nn.Conv2d(channels, num_classes, 1))
    for place in range(1, num_blocks + 1):
        layers.add_module(f"block_{place}", BasicBlock(num_classes, num_classes, norm="BN"))
    layers.add_module("logits", nn.Conv2d(num_classes, num_classes, 1))
    return convert_batch_norm(layers, norm)


def bottleneck_layers(*, channels: int, width: int, num_classes: int, norm: str = "SyncBN") -> nn.Sequential:
    """Two 1x1 convolutions with a norm and a ReLU between them: the naive decoder of SETR (CVPR 2021), unresized.

    Args:
        channels: C of the feature map.
        width: channels between the convolutions.
        num_classes: K.
        norm: kind of the batch norm, see `convert_batch_norm`.

    Raises:
        ValueError: an unknown norm.
    """
    layers = nn.Sequential(
        nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, num_classes, 1)
    )
    return convert_batch_norm(layers, norm)
