import pytest
import torch

from tokenseg.layers.class_order import class_softmax, in_fastest_order, is_channels_last


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
