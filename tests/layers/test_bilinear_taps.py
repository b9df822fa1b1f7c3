"""Bilinear resizing at single pixels."""

import pytest
import torch

from tokenseg.layers.bilinear_taps import resized_at, taps_of_side
from tokenseg.layers.resize import resize


def test_taps_by_hand():
    # a place of the doubled side lies a quarter of a step beside one of the two
    taps = taps_of_side(2, 4, torch.device("cpu"))
    both = torch.zeros(4, 2).scatter_add(1, taps.places, taps.weights)
    assert both.tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]


@pytest.mark.parametrize(
    ("size", "wanted"), [((7, 5), (16, 33)), ((40, 30), (13, 7)), ((1, 9), (4, 9)), ((6, 1), (6, 1))]
)
def test_pixels_are_those_of_the_resized_map(size, wanted):
    maps = torch.randn(1, 20, *size).contiguous(memory_format=torch.channels_last)
    rows, columns = (torch.randint(0, side, (50,)) for side in wanted)
    found = resized_at(lambda y, x: maps[0, :, y, x].T, size, wanted, rows, columns)
    torch.testing.assert_close(found, resize(maps, wanted)[0, :, rows, columns].T, rtol=1e-6, atol=1e-6)
