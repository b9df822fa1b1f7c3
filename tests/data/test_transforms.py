import numpy as np
import pytest
from detectron2.data import transforms as T

from tokenseg.data.transforms import ColorDistortion, PadToSize, ResizeToBase


def resized(augmentation, height, width):
    inputs = T.AugInput(np.zeros((height, width, 3), dtype=np.uint8))
    augmentation(inputs)
    return inputs.image.shape[:2]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((50, 50), (100, 100)),  # enlarged until the short side reaches its maximum
        ((400, 300), (133, 100)),  # reduced until the short side reaches its maximum
        ((50, 200), (50, 200)),  # unchanged, since the long side has its maximum
        ((500, 100), (200, 40)),
        ((1, 1000), (1, 200)),  # each side has at least one pixel
        ((1, 1), (100, 100)),
        ((1, 2), (100, 200)),
    ],
)
def test_size_by_hand(size, wanted):
    assert resized(ResizeToBase(short=100, long=200), *size) == wanted


def test_ratio_scales_both_bounds():
    assert resized(ResizeToBase(short=100, long=200, ratio_range=(0.5, 0.5)), 50, 200) == (25, 100)
    assert resized(ResizeToBase(short=100, long=200, ratio_range=(0.5, 0.5)), 300, 300) == (50, 50)


@pytest.mark.parametrize(
    ("size", "scale", "wanted"),
    [
        ((300, 1300), 1.0, (512, 2219)),  # no maximum of the long side, as on COCO-Stuff-10K
        ((300, 1300), 1.75, (896, 3883)),
        ((1300, 300), 0.5, (2219, 512)),  # the short side has at least 512 pixels
        ((100, 100), 0.75, (512, 512)),
    ],
)
def test_a_short_side_without_bound_on_the_long_one(size, scale, wanted):
    augmentation = ResizeToBase(short=512, long=None, least_short=512)
    assert resized(augmentation.at_scale(scale), *size) == wanted


def test_scales_multiply_both_bounds():
    augmentation = ResizeToBase(short=100, long=200)
    assert [resized(augmentation.at_scale(scale), 50, 200) for scale in (0.5, 2.0)] == [(25, 100), (100, 400)]


def test_ratios_fill_their_range():
    augmentation = ResizeToBase(short=100, long=400, ratio_range=(0.5, 2.0))
    sides = [augmentation.get_transform(np.zeros((100, 100))).new_h for _ in range(500)]
    assert min(sides) in range(50, 54) and max(sides) in range(196, 201)
    assert np.mean(sides) == pytest.approx(125, abs=8)  # uniform


def test_labels_are_resized_without_mixing():
    label = np.array([[0, 9], [255, 3]], dtype=np.uint8)
    inputs = T.AugInput(np.zeros((2, 2, 3), dtype=np.uint8), sem_seg=label)
    ResizeToBase(short=6, long=6)(inputs)
    assert np.array_equal(inputs.sem_seg, label.repeat(3, axis=0).repeat(3, axis=1))


@pytest.mark.parametrize(
    "wrong",
    [{"short": 0}, {"short": 300}, {"ratio_range": (2.0, 0.5)}, {"ratio_range": (0.0, 1.0)}, {"least_short": -1}],
)
def test_bounds_are_checked(wrong):
    with pytest.raises(ValueError, match=r"wanted 0 < short <= long \(or long=None\), 0 < low <= high"):
        ResizeToBase(**{"short": 100, "long": 200, **wrong})


def test_padding_by_hand():
    image = np.full((2, 3, 3), 9, dtype=np.uint8)
    inputs = T.AugInput(image, sem_seg=np.ones((2, 3), dtype=np.uint8))
    PadToSize(size=(3, 5), image_value=(123.675, 116.28, 103.53), label_value=255)(inputs)
    assert inputs.image.dtype == np.uint8 and np.array_equal(inputs.image[:2, :3], image)
    assert (inputs.image[2] == (124, 116, 104)).all() and (inputs.image[:, 3:] == (124, 116, 104)).all()
    assert inputs.sem_seg.tolist() == [[1, 1, 1, 255, 255], [1, 1, 1, 255, 255], [255] * 5]


def test_padding_of_floats_is_exact():
    inputs = T.AugInput(np.zeros((1, 1, 3), dtype=np.float32))
    PadToSize(size=(1, 2), image_value=(0.25, 0.5, 0.75), label_value=255)(inputs)
    assert inputs.image[0, 1].tolist() == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("size", [(4, 4), (9, 4), (6, 8)])
def test_larger_sides_stay(size):
    image = np.random.randint(0, 256, (*size, 3), dtype=np.uint8)
    inputs = T.AugInput(image.copy())
    PadToSize(size=(4, 4), image_value=(0, 0, 0), label_value=255)(inputs)
    assert np.array_equal(inputs.image, image)


def applied(augmentation, image):
    inputs = T.AugInput(image)
    augmentation(inputs)
    return inputs.image


def test_bands_are_resized_as_colours_are():
    """Four 8-bit bands are not treated as colours with transparency, and floats are filtered like 8-bit values."""
    colours, resize = np.random.randint(0, 256, (40, 60, 3), dtype=np.uint8), ResizeToBase(short=13, long=99)
    wanted = applied(resize, colours)
    four = applied(resize, np.dstack([colours, np.zeros((40, 60), np.uint8)]))
    assert four.shape == (13, 20, 4) and np.array_equal(four[:, :, :3], wanted) and not four[:, :, 3].any()
    levels = applied(resize, colours.astype(np.float32))
    assert levels.dtype == np.float32 and np.abs(levels - wanted).max() < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bands_are_distorted_alike(dtype):
    image = np.full((2, 2, 4), 100, dtype)
    image[0, 0] = 50
    found = [applied(ColorDistortion(image_format="RGB"), image) for _ in range(40)]
    assert all(one.dtype == dtype and (one == one[:, :, :1]).all() for one in found)
    slopes = [(float(one[1, 1, 0]) - one[0, 0, 0]) / 50 for one in found]
    assert 0.48 < min(slopes) < 0.9 and 1.1 < max(slopes) < 1.52 and len({one[1, 1, 0] for one in found}) > 5


def test_padding_wants_a_value_a_channel():
    with pytest.raises(ValueError, match=r"shape \(2, 2, 4\) is padded with 3 values"):
        applied(PadToSize(size=(4, 4), image_value=[1, 2, 3], label_value=255), np.zeros((2, 2, 4), np.float32))
    padded = applied(
        PadToSize(size=(2, 3), image_value=[1.5, 2, 3, 4], label_value=255), np.zeros((2, 2, 4), np.float32)
    )
    assert padded[1, 2].tolist() == [1.5, 2, 3, 4]
