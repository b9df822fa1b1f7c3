import pytest
import torch
from torch.nn import functional as F

from tokenseg.layers.memory_order import channels_last, class_softmax, in_fastest_order, is_channels_last


@pytest.mark.parametrize(("num_classes", "channels_last"), [(15, False), (16, True), (150, True)])
def test_a_vector_of_classes_is_read_pixel_by_pixel(num_classes, channels_last):
    maps = torch.randn(2, num_classes, 3, 5)
    for order in (torch.contiguous_format, torch.channels_last):
        ordered = in_fastest_order(maps.contiguous(memory_format=order))
        assert torch.equal(ordered, maps) and is_channels_last(ordered) == channels_last


@pytest.mark.parametrize("num_classes", [3, 20])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_softmax_is_that_over_the_classes_in_the_same_order(num_classes, order):
    scores = torch.randn(2, num_classes, 4, 5).contiguous(memory_format=order)
    found = class_softmax(scores)
    torch.testing.assert_close(found, scores.softmax(dim=1))
    assert num_classes < 16 or found.stride() == scores.stride()


def test_a_single_map_is_channels_last_for_convolutions_too():
    view = torch.randn(1, 3 * 4, 6).mT.unflatten(2, (3, 4))
    odd = torch.as_strided(view, view.shape, (6, *view.stride()[1:]))
    weight = torch.randn(6, 6, 1, 1)
    assert torch.equal(channels_last(odd), odd)
    assert is_channels_last(F.conv2d(channels_last(odd), weight)) and not is_channels_last(F.conv2d(odd, weight))
    pair = torch.randn(2, 6, 3, 4)
    assert channels_last(pair).is_contiguous(memory_format=torch.channels_last) and torch.equal(
        channels_last(pair), pair
    )
