"""DeepLabV3's layers, for `PerPixelHead`.

Paper: Chen et al.: Rethinking Atrous Convolution for Semantic Image Segmentation (2017), section 3.3.
"""

from collections.abc import Sequence

from detectron2.layers import ASPP
from torch import nn

from ..backbones.norm import convert_batch_norm


def deeplab_v3_layers(
    *,
    channels: int,
    num_classes: int,
    width: int = 256,
    dilations: Sequence[int] = (12, 24, 36),
    dropout: float = 0.1,
    norm: str = "SyncBN",
) -> nn.Sequential:
    """Build atrous spatial pyramid pooling and a 1x1 classifier, from a map (N, C, H, W) to logits (N, K, H, W).

    Args:
        channels: The number of channels C.
        num_classes: The number of classes K.
        width: The number of channels of each branch and of their fusion.
        dilations: The dilations of the three 3x3 branches; the default is for output stride 8.
        dropout: The dropout rate before the classifier.
        norm: The kind of batch norm; see `convert_batch_norm`.

    Raises:
        ValueError: The number of dilations is not three, or the norm is unknown.
    """
    if len(dilations) != 3:
        raise ValueError(f"dilations are {list(dilations)}; wanted three")
    pyramid = ASPP(channels, width, list(dilations), norm="BN", activation=nn.ReLU(), dropout=dropout)
    layers = nn.Sequential()
    layers.add_module("pyramid", convert_batch_norm(pyramid, norm))
    logits = nn.Conv2d(width, num_classes, 1)
    nn.init.normal_(logits.weight, std=0.01)
    layers.add_module("logits", logits)
    return layers
