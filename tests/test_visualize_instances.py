import numpy as np
import pytest

from tokenseg.visualize_instances import draw_instances

RED, BLUE = (255, 0, 0), (0, 0, 255)


def drawn(boxes, *, masks=None, labels=None, colors=(RED,), factor=1, side=200):
    """Draw instances on a black square, without names unless they are given."""
    picture = draw_instances(
        np.zeros((side, side, 3), np.uint8),
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        masks=masks,
        labels=labels or [""] * len(boxes),
        colors=np.array(colors),
        min_side=factor * side,
    )
    assert picture.shape == (factor * side, factor * side, 3) and picture.dtype == np.uint8
    return picture


@pytest.mark.parametrize("factor", [1, 3])
def test_a_box_lies_on_its_outermost_pixels(factor):
    red = (drawn([(20, 60, 90, 100)], factor=factor) == RED).all(axis=-1)[64 * factor :]  # below the name's place
    rows, columns = np.nonzero(red)
    assert (columns.min(), columns.max()) == (20 * factor, 90 * factor - 1)
    assert rows.max() + 64 * factor == 100 * factor - 1
    assert not red[: 30 * factor, 25 * factor : 85 * factor].any()  # inside it


def test_masks_tint_their_pixels_and_keep_their_holes():
    mask = np.zeros((1, 200, 200), bool)
    mask[0, 60:140, 60:140], mask[0, 90:110, 90:110] = True, False
    picture = drawn([(60, 60, 140, 140)], masks=mask)
    assert picture[130, 75].tolist() == [115, 0, 0]  # 45 % of red on black
    assert not picture[100, 100].any() and not picture[150, 150].any()
    assert picture[139, 100].tolist() == [255, 0, 0] == picture[110, 100].tolist()  # both outlines
    assert not picture[140, 100].any() and not picture[109, 100].any()


def test_an_empty_mask_leaves_the_box_alone():
    picture = drawn([(60, 60, 140, 140)], masks=np.zeros((1, 200, 200), bool))
    assert not picture[100, 100].any() and picture[139, 100].tolist() == list(RED)


def test_small_instances_lie_over_large_ones():
    masks = np.zeros((2, 200, 200), bool)
    masks[0, 80:120, 80:120], masks[1, 10:190, 10:190] = True, True
    picture = drawn([(80, 80, 120, 120), (10, 10, 190, 190)], colors=(BLUE, RED), masks=masks)
    assert picture[119, 100].tolist() == list(BLUE) and picture[189, 100].tolist() == list(RED)


def test_names_do_not_hide_one_another_nor_leave_the_picture():
    boxes = [(150, 2, 199, 60), (150, 3, 199, 61)]
    picture = drawn(boxes, labels=["crossing", "crossing\n"], colors=(RED, BLUE))
    ink = {color: (picture == color).all(axis=-1).sum() for color in (RED, BLUE)}
    assert min(ink.values()) > 400  # both plates are visible


def test_no_instances_leave_the_image_as_it_is():
    assert not drawn([], colors=np.zeros((0, 3))).any()
    assert not drawn([], masks=np.zeros((0, 200, 200), bool), colors=np.zeros((0, 3))).any()
