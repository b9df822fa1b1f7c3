"""Inference policies, on a model whose scores are known at every pixel."""

import pytest
import torch

from tokenseg.inference.policy import MultiScale, SlidingWindow, WholeImage, window_starts


class Pixels:
    """A model whose scores are the first two channels of each pixel. It records the sizes of its batches."""

    def __init__(self, shift=0.0):
        self.batches, self.shift = [], shift

    def segment(self, images):
        self.batches.append([tuple(image.shape[-2:]) for image in images])
        # The scores depend on the position in the window, so that they differ where windows overlap.
        return [image[:2] + self.shift * torch.arange(image.shape[-1]) for image in images]

    def to_probabilities(self, scores):
        return scores.softmax(1)


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [(10, 10, 4, [0]), (11, 10, 4, [0, 1]), (18, 10, 4, [0, 4, 8]), (19, 10, 10, [0, 9]), (1, 1, 1, [0])],
)
def test_window_starts(length, window, stride, starts):
    assert window_starts(length, window, stride) == starts


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 8), (9, 20), (31, 5)])
def test_windows_cover_every_pixel_of_any_size(size):
    image = torch.randn(3, *size)
    scores = SlidingWindow(window=8, stride=5)(Pixels(), [image], [size])[0]
    torch.testing.assert_close(scores, image[:2])


def test_overlaps_are_averaged():
    # windows at columns 0 and 2; a window adds its own column number, 0..3, to the zeros of the image
    scores = SlidingWindow(window=(1, 4), stride=(1, 2))(Pixels(shift=1.0), [torch.zeros(3, 1, 6)], [(1, 6)])[0]
    assert scores[0, 0].tolist() == [0, 1, (2 + 0) / 2, (3 + 1) / 2, 2, 3]


def test_windows_of_all_images_share_batches():
    model = Pixels()
    images = [torch.randn(3, 8, 12), torch.randn(3, 4, 4)]  # 2 windows and 1
    SlidingWindow(window=8, stride=4, batch_size=2)(model, images, [(8, 12), (4, 4)])
    assert model.batches == [[(8, 8), (8, 8)], [(8, 8)]]


def test_one_window_equals_the_whole_image():
    image = torch.randn(3, 8, 8)
    window = SlidingWindow(window=8, stride=8)(Pixels(shift=0.3), [image], [(16, 5)])[0]
    whole = WholeImage()(Pixels(shift=0.3), [image], [(16, 5)])[0]
    torch.testing.assert_close(window, whole)


def test_flip_averages_mirrored_views():
    image = torch.zeros(3, 1, 2)
    image[0] = torch.tensor([[2.0, 0.0]])
    # the shift is antisymmetric under the flip for class differences: both classes get it, so softmax drops it
    scores = MultiScale(policy=WholeImage(), scales=[1.0], flip=True)(Pixels(shift=5.0), [image], [(1, 2)])[0]
    torch.testing.assert_close(scores, image[:2].softmax(0))


def test_probabilities_of_scales_are_averaged_at_the_output_size():
    image = torch.randn(3, 6, 8)
    got = MultiScale(policy=WholeImage(), scales=[0.5, 1.0], flip=False)(Pixels(), [image], [(12, 16)])[0]
    resize = torch.nn.functional.interpolate
    half = resize(image[None], size=(3, 4), mode="bilinear")
    views = [resize(x[:, :2], size=(12, 16), mode="bilinear").softmax(1) for x in (half, image[None])]
    torch.testing.assert_close(got, torch.stack(views).mean(0)[0])


def test_tiny_images_survive_small_scales():
    got = MultiScale(policy=SlidingWindow(window=4, stride=4), scales=[0.1, 1.5], flip=True)(
        Pixels(), [torch.randn(3, 1, 1)], [(1, 1)]
    )[0]
    assert got.shape == (2, 1, 1)
    torch.testing.assert_close(got.sum(), torch.tensor(1.0))


@pytest.mark.parametrize(
    "wrong", [dict(window=4, stride=5), dict(window=4, stride=0), dict(window=(4, 4, 4), stride=2)]
)
def test_impossible_windows_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted two sides"):
        SlidingWindow(**wrong)


@pytest.mark.parametrize("scales", [[], [0.5, 0.0]])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(ValueError, match="wanted one or more"):
        MultiScale(policy=WholeImage(), scales=scales, flip=False)
