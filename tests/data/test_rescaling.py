"""Views at several scales are created from the pixels of the file, with a single resize."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image

from tokenseg.data.rescaling import OriginalImage
from tokenseg.data.transforms import ResizeToBase

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def by_pillow(size):
    """Resize the pixels directly to (h, w); returns (3, h, w)."""
    resized = np.asarray(Image.fromarray(PIXELS).resize(size[::-1], Image.BILINEAR))
    return torch.from_numpy(resized.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(("scale", "size"), [(0.5, (8, 12)), (1.0, (10, 15)), (1.75, (18, 26)), (4.0, (40, 60))])
def test_a_view_is_resized_once(scale, size):
    original = OriginalImage(pixels=PIXELS, augmentations=[ResizeToBase(short=10, long=90, least_short=8)])
    assert torch.equal(original.at_scale(scale), by_pillow(size))


@pytest.mark.parametrize(("scale", "size"), [(0.5, (20, 30)), (1.0, (40, 60)), (0.001, (1, 1))])
def test_images_that_no_augmentation_resizes(scale, size):
    assert torch.equal(OriginalImage(pixels=PIXELS, augmentations=[]).at_scale(scale), by_pillow(size))


def test_what_other_augmentations_give_is_resized():
    original = OriginalImage(pixels=PIXELS, augmentations=[T.Resize((20, 20))])
    assert original.at_scale(0.5).shape == (3, 10, 10)


def test_it_reaches_other_processes():
    original = OriginalImage(pixels=PIXELS, augmentations=[ResizeToBase(short=10, long=90)])
    assert torch.equal(pickle.loads(pickle.dumps(original)).at_scale(2.0), original.at_scale(2.0))
