"""The backbone as it was before fused kernels."""

import copy

from torch import nn


def with_plain_attention(backbone: nn.Module) -> nn.Module:
    """A second backbone on the same parameters whose attention runs as matmul, softmax, matmul.

    Args:
        backbone: A backbone that wraps a vision transformer of timm.

    Raises:
        ValueError: no such attention in it.
    """
    plain = copy.deepcopy(backbone, {id(parameter): parameter for parameter in backbone.parameters()})
    layers = [layer for layer in plain.modules() if hasattr(layer, "fused_attn")]
    if not layers:
        raise ValueError(f"{type(backbone).__name__} has no attention of timm; wanted a vision transformer")
    for layer in layers:
        layer.fused_attn = False
    return plain
