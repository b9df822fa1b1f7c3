"""The number of pieces of each class in a label map."""

import numpy as np
import pytest

from tokenseg.data.class_counts import ClassCounts


@pytest.fixture
def label():
    """Two pieces of class 1 separated by an ignored line, and one of class 2 whose halves touch only at a corner."""
    label = np.zeros((12, 12), dtype=np.int64)
    label[:4, :5], label[:4, 2] = 1, 255
    label[6:8, 6:8] = label[8:10, 8:10] = 2
    return label


def test_pieces_are_counted_by_class(label):
    assert ClassCounts(num_classes=4, min_pixels=4)(label).tolist() == [1, 2, 1, 0]


def test_small_pieces_do_not_count(label):
    assert ClassCounts(num_classes=4, min_pixels=9)(label).tolist() == [1, 0, 0, 0]


def test_an_ignored_map_shows_nothing():
    assert ClassCounts(num_classes=2)(np.full((4, 4), 255)).tolist() == [0, 0]
