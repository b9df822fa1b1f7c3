import pytest
import torch
from torch.nn import functional as F

from tokenseg.layers.point_conv import PointConv2d, PointLinear


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_it_is_a_1x1_convolution(groups, bias, size):
    layer, x = PointConv2d(4, 6, groups=groups, bias=bias), torch.randn(2, 4, *size)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, groups=groups))
    assert layer.weight.shape == (6, 4 // groups, 1, 1) and (layer.bias is not None) == bias


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 0, 4), (2, 5, 3, 4)])
def test_a_linear_layer_over_positions(shape):
    layer, x = PointLinear(4, 6), torch.randn(shape, requires_grad=True)
    got, wanted = layer(x), F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(got, wanted)
    leaves = [x, layer.weight, layer.bias]
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), leaves) for y in (got, wanted)))
