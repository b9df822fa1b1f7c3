"""Backbones without fused attention kernels."""

import copy

from torch import nn


def with_plain_attention(backbone: nn.Module) -> nn.Module:
    """Copy a backbone, sharing its parameters, and compute the copy's attention as matmul, softmax, matmul.

    Args:
        backbone: A backbone that wraps a timm vision transformer.

    Raises:
        ValueError: The backbone has no attention of timm.
    """
    plain = copy.deepcopy(backbone, {id(parameter): parameter for parameter in backbone.parameters()})
    layers = [layer for layer in plain.modules() if hasattr(layer, "fused_attn")]
    if not layers:
        raise ValueError(f"{type(backbone).__name__} has no attention of timm; wanted a vision transformer")
    for layer in layers:
        layer.fused_attn = False
    return plain
