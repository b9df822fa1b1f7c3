"""1x1 convolution."""

from torch import Tensor, nn
from torch.nn import functional as F


class PointConv2d(nn.Conv2d):
    """1x1 convolution: (N, C_in, H, W) to (N, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        # With one CPU thread torch leaves oneDNN for a matrix product, half as fast on some CPUs, but for dilated
        # convolutions; 1x1 ones are the same with any dilation.
        dilation = 2 if x.device.type == "cpu" else 1
        return F.conv2d(x, self.weight, self.bias, dilation=dilation, groups=self.groups)
