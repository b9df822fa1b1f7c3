"""DeepLab's multi-grid (Chen et al. 2017, arXiv 1706.05587): a dilation for each block of a ResNet's last stage."""

from collections.abc import Sequence
from typing import Any, cast

from timm.models.resnet import Bottleneck, ResNet
from torch import nn


def dilate_last_stage(model: nn.Module, dilations: Sequence[int]) -> None:
    """Give the 3x3 convolution of each block in the last stage of a timm ResNet its own dilation.

    The strides are not changed: if the stage has a stride of 2, timm places it in the 3x3 convolution and in the 1x1
    shortcut of the first block.

    Args:
        model: A timm ResNet of bottleneck blocks, which is modified in place. The names and values of its weights are
            kept.
        dilations: One dilation of at least 1 for each block of the last stage.

    Raises:
        ValueError: The model is not such a ResNet, or the dilations do not fit it.
    """
    blocks: list[Any] = list(model.get_submodule("layer4").children()) if isinstance(model, ResNet) else []
    if not blocks or not all(type(block) is Bottleneck and type(block.conv2) is nn.Conv2d for block in blocks):
        raise ValueError(f"multi_grid is set for a {type(model).__name__}; wanted a ResNet of bottleneck blocks")
    if len(dilations) != len(blocks) or min(dilations) < 1:
        raise ValueError(
            f"multi_grid gives res5 the dilations {list(dilations)}; wanted a dilation of at least 1 for each of its "
            f"{len(blocks)} blocks"
        )
    for block, dilation in zip(blocks, dilations, strict=True):
        block.conv2 = _dilated(block.conv2, dilation)


def _dilated(conv: nn.Conv2d, dilation: int) -> nn.Conv2d:
    """Return the convolution with the same weight and stride, and another dilation."""
    # On `meta`, no weights are allocated or drawn, since they are replaced right away.
    dilated = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        cast("tuple[int, int]", conv.kernel_size),
        cast("tuple[int, int]", conv.stride),
        padding=dilation,
        dilation=dilation,
        groups=conv.groups,
        bias=False,
        device="meta",
    )
    dilated.weight = conv.weight
    return dilated
