"""Plain per-pixel classification: a head with arbitrary layers, and the layers of some baselines."""

import itertools
from collections.abc import Sequence

from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import Tensor, nn

from ..backbones.norm import convert_batch_norm
from ..contracts import Counts, Targets, given
from ..d2_compat import refuse_yacs
from ..layers.feature_maps import select_maps
from ..losses.pixel import count_pixels, pixel_cross_entropy


@SEM_SEG_HEADS_REGISTRY.register()
class PerPixelHead(nn.Module):
    """A head with any layers that end in K channels, trained with cross entropy."""

    gives_probabilities = False

    @refuse_yacs
    def __init__(self, *, in_feature: str, layers: nn.Module, ignore_value: int = 255) -> None:
        """
        Args:
            in_feature: The name of the backbone's map.
            layers: The module from the map (N, C, H, W) to logits (N, K, H', W').
            ignore_value: The label of the pixels to ignore.
        """
        super().__init__()
        self.in_feature, self.layers, self.ignore_value = in_feature, layers, ignore_value

    def forward(
        self, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: The maps of the backbone; `in_feature` is (N, C, H, W).
            targets: The targets in training, with labels (N, h, w).

        Returns:
            In training None and the loss `loss_sem_seg`; in inference the logits and no losses.
        """
        logits = self.layers(*select_maps(features, [self.in_feature]))
        if not self.training:
            return logits, {}
        return None, {"loss_sem_seg": pixel_cross_entropy(logits, given(targets), ignore_value=self.ignore_value)}

    def count(self, targets: Targets) -> Counts:
        """Count the valid pixels."""
        return count_pixels(targets, ignore_value=self.ignore_value)

    def token_maps(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return maps (N, K, h, w) of the classes by title, for pictures.

        These are the logits and, if `layers` is an `nn.Sequential`, the outputs of its other layers with K channels.

        Args:
            features: The maps of the backbone.
        """
        [x] = select_maps(features, [self.in_feature])
        if not isinstance(self.layers, nn.Sequential):
            return {"logits": self.layers(x)}
        maps = {}
        for name, layer in self.layers.named_children():
            x = layer(x)
            maps[name.replace("_", " ")] = x
        *before, last = maps
        return {title: maps[title] for title in before if maps[title].shape[1] == x.shape[1]} | {"logits": maps[last]}


def point_layers(*, channels: Sequence[int]) -> nn.Sequential:
    """Build 1x1 convolutions with ReLUs between them.

    Args:
        channels: The numbers of channels of the input, of every hidden layer, and of the output.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(channels):
        layers += [nn.Conv2d(width_in, width_out, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def residual_layers(*, channels: int, num_classes: int, num_blocks: int = 4, norm: str = "SyncBN") -> nn.Sequential:
    """Build a 1x1 convolution to K channels, residual blocks on them, and a 1x1 convolution to the logits.

    This is the per-pixel counterpart of StructToken's decoder (IEEE TCSVT 2023, section IV-E), whose maps also have one
    slice per class.

    Args:
        channels: The number of channels of the feature map.
        num_classes: The number of classes K.
        num_blocks: The number of residual blocks, each with two 3x3 convolutions.
        norm: The kind of batch norm; see `convert_batch_norm`.

    Raises:
        ValueError: The norm is unknown.
    """
    layers = nn.Sequential()
    layers.add_module("projection", nn.Conv2d(channels, num_classes, 1))
    for place in range(1, num_blocks + 1):
        layers.add_module(f"block_{place}", BasicBlock(num_classes, num_classes, norm="BN"))
    layers.add_module("logits", nn.Conv2d(num_classes, num_classes, 1))
    return convert_batch_norm(layers, norm)


def bottleneck_layers(*, channels: int, width: int, num_classes: int, norm: str = "SyncBN") -> nn.Sequential:
    """Build two 1x1 convolutions with a norm and a ReLU between them.

    This is the naive decoder of SETR (CVPR 2021) without its upsampling.

    Args:
        channels: The number of channels of the feature map.
        width: The number of channels between the convolutions.
        num_classes: The number of classes K.
        norm: The kind of batch norm; see `convert_batch_norm`.

    Raises:
        ValueError: The norm is unknown.
    """
    layers = nn.Sequential(
        nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, num_classes, 1)
    )
    return convert_batch_norm(layers, norm)
