"""The connected components of label maps written by hand."""

import cv2
import numpy as np
import pytest
import torch

from tokenseg.data.components import ConnectedComponents


def discs(*places, size=(64, 64), radius=9, class_id=1):
    label = np.zeros(size, dtype=np.int64)
    for place in places:
        cv2.circle(canvas := np.zeros(size, dtype=np.uint8), place, radius, 1, -1)
        label[canvas > 0] = class_id
    return label


def test_two_discs_of_one_class_are_two_components():
    label = discs((16, 16), (48, 40))
    found = ConnectedComponents(min_share=0.0, opening=1)(label)
    assert found.shape == (4, 8, 8) and found.dtype == torch.float32
    torch.testing.assert_close(found[0], torch.ones(8, 8))
    background, first, second = found[1:]
    torch.testing.assert_close(first + second, area(label == 1))
    assert first[:4, :4].sum() == first.sum() and second[:4, :4].sum() == 0
    torch.testing.assert_close(background, area(label == 0))


def area(mask, stride=8):
    return torch.from_numpy(mask).float().unfold(0, stride, stride).unfold(1, stride, stride).mean(dim=(2, 3))


def test_touching_discs_are_one_component_and_corners_touch():
    assert len(ConnectedComponents()(discs((20, 20), (32, 20)))) == 3
    label = np.zeros((16, 16), dtype=np.int64)
    label[:8, :8] = label[8:, 8:] = 1
    assert len(ConnectedComponents()(label)) == 1 + 2  # class 1 in one piece, and class 0 in one


def test_classes_that_touch_stay_apart():
    label = np.repeat([[0, 1, 2]], 24, axis=0).repeat(8, axis=1)
    found = ConnectedComponents()(label)
    torch.testing.assert_close(found[1:], torch.eye(3)[:, None].expand(3, 3, 3))


def test_thin_lines_are_opened_and_small_parts_dropped():
    label = discs((32, 32), radius=20)
    label[32] = 1  # a line to both sides
    label[2:6, 2:6] = 1  # 16 pixels, under 5 % of the background
    found = ConnectedComponents()(label)
    assert len(found) == 1 + 3  # the disc, and the background in two halves
    assert found[1:, 4, 0].sum() == pytest.approx(1 - 8 / 64)
    assert found[0].min() == 1  # what was dropped is valid, and in no component
    assert len(ConnectedComponents(min_share=0.0)(label)) == 1 + 4
    assert found[1:, 0, 0].sum() == pytest.approx(1 - 16 / 64)
    assert len(ConnectedComponents(opening=1)(label)) == 1 + 3


def test_shares_of_the_largest_of_a_class():
    label = np.zeros((64, 64), dtype=np.int64)
    label[8:16, 8:16] = 1
    label[8:12, 32:36] = 1
    label[40:48, 8:10] = 2
    few, more = (ConnectedComponents(within=within, opening=1)(label) for within in ("image", "class"))
    assert (len(few), len(more)) == (1 + 1, 1 + 4)


def test_more_components_than_can_be_active_leave_the_largest():
    label = np.full((64, 64), 255)
    for place in range(16):
        top, left = 16 * (place // 4), 16 * (place % 4)
        label[top : top + 6 + place % 8, left : left + 8] = place
    found = ConnectedComponents(num_active=8)(label)
    assert len(found) == 1 + 7
    sizes = found[1:].sum(dim=(1, 2)) * 64
    assert sizes.tolist() == [104, 104, 96, 96, 88, 88, 80]


def test_nothing_but_ignored_pixels():
    for step in (1, 4):
        found = ConnectedComponents(label_stride=step)(np.full((17, 24), 255))
        assert found.shape == (1, 3, 3) and not found.any()


def test_odd_sizes_and_a_coarser_label_map():
    label = discs((16, 16), (48, 40), size=(61, 70), radius=12)
    fine, coarse = (ConnectedComponents(label_stride=step, opening=1)(label) for step in (1, 4))
    assert fine.shape == coarse.shape == (4, 8, 9)
    assert (fine - coarse).abs().mean() < 0.1
    torch.testing.assert_close(fine[0, -1, -1], torch.tensor(5 * 6 / 64))


def test_a_function_of_the_label_map_alone():
    label = np.random.default_rng(0).integers(0, 3, (40, 40)).repeat(4, 0).repeat(4, 1)
    make, before = ConnectedComponents(), label.copy()
    torch.testing.assert_close(make(label), make(label), rtol=0, atol=0)
    assert np.array_equal(label, before)


def test_mistakes():
    with pytest.raises(ValueError, match="stride is 8 and label_stride 3"):
        ConnectedComponents(label_stride=3)
    with pytest.raises(ValueError, match="within='crop'"):
        ConnectedComponents(within="crop")
