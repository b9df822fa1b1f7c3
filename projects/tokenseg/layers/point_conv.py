"""1x1 convolutions, and linear layers that are computed as 1x1 convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PointConv2d(nn.Conv2d):
    """1x1 convolution: (N, C_in, H, W) to (N, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        # With one CPU thread torch replaces oneDNN by a matrix product, which is half as fast on some CPUs, unless the
        # convolution is dilated. Dilation does not change a 1x1 convolution, so it is set here to keep oneDNN.
        dilation = 2 if x.device.type == "cpu" else 1
        return F.conv2d(x, self.weight, self.bias, dilation=dilation, groups=self.groups)


class PointLinear(nn.Linear):
    """A linear layer over many positions: (..., C_in) to (..., C_out)."""

    def forward(self, x: Tensor) -> Tensor:
        return point_linear(x, self.weight, self.bias)


def zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialise the bias of a layer with zero, if it has one."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def point_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear map over many positions.

    Args:
        x: (..., C_in).
        weight: (C_out, C_in).
        bias: (C_out,).

    Returns:
        (..., C_out).
    """
    single = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if x.device.type != "cpu" or not single or not x.numel():
        return F.linear(x, weight, bias)
    # In single precision oneDNN runs it as a 1x1 convolution of channels that lie side by side, on some CPUs in half
    # the time that the matrix product takes.
    rows = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(rows, weight[:, :, None, None], bias, dilation=2)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
