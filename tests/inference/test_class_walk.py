"""Compares the class ids of the walk with the argmax over the scores of all classes."""

import functools
import types

import pytest
import torch

from tokenseg.inference import class_walk
from tokenseg.inference.class_walk import ids_by_classes
from tokenseg.inference.coarse_views import MaskView, ScoreView
from tokenseg.inference.policy import SlidingWindow, WholeImage
from tokenseg.layers.mask_scores import class_probabilities, sum_of_masks
from tokenseg.layers.resize import resize

STRIDE, CLASSES, TOKENS = 8, 150, 40


class Model:
    """A segmentor whose maps, scores or masks and class logits, are drawn by the content of each view.

    Trained, it has five classes; else all are about as likely.
    """

    def __init__(self, *, masks, trained):
        self.masks, self.trained = masks, trained

    def views(self, images):
        return [self.view(image) for image in images]

    def view(self, image):
        draw = torch.Generator().manual_seed(int(image.double().sum() * 1000))
        own = tuple(image.shape[-2:])
        cells = [-(-side // STRIDE) for side in own]
        size = tuple(STRIDE * side for side in cells)
        present = torch.arange(3, CLASSES, 31)
        if self.masks:
            masks = 4 * torch.randn(1, TOKENS, *cells, generator=draw)
            logits = 2 * torch.randn(1, TOKENS, CLASSES + 1, generator=draw)
            if self.trained:
                logits[..., -1] += 9
                logits[:, torch.arange(len(present)), present] += 14
            return MaskView(masks, class_probabilities(logits), size, size, own)
        scores = torch.randn(1, CLASSES, *cells, generator=draw)
        if self.trained:
            scores[:, present] += 6
        return ScoreView(scores.contiguous(memory_format=torch.channels_last), size, own)

    def segment(self, images):
        views = self.views(images)
        full = [
            sum_of_masks(view.masks, view.probabilities, size=view.size)
            if self.masks
            else resize(view.scores, view.batch_size)
            for view in views
        ]
        return [x[0, :, : image.shape[-2], : image.shape[-1]] for x, image in zip(full, images, strict=True)]


POLICIES = [WholeImage(), SlidingWindow(window=48, stride=32), SlidingWindow(window=(96, 40), stride=29, batch_size=3)]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("masks", [True, False])
def test_ids_are_those_of_the_highest_scores(policy, trained, masks):
    found, wanted = both(Model(masks=masks, trained=trained), policy)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def both(model, policy):
    """The class ids of two images, by the walk and from the scores of all classes."""
    images, sizes = [torch.rand(3, 67, 85), torch.rand(3, 48, 40)], [(101, 90), (35, 70)]
    wanted = [scores.max(dim=0).indices for scores in policy(model, images, sizes)]
    return ids_by_classes(model, policy, images, sizes), wanted


@pytest.fixture
def steps(monkeypatch):
    """Records how many classes are computed at a time, and for how many pixels all classes are computed."""
    noted = {"classes": [], "pixels": 0}

    def planes(view, classes, *, old):
        noted["classes"].append(len(classes))
        return old(view, classes)

    def in_full(walk, rows, columns, *, old=class_walk._Walk._in_full):
        noted["pixels"] += len(rows)
        return old(walk, rows, columns)

    for kind in (MaskView, ScoreView):
        monkeypatch.setattr(kind, "planes", functools.partialmethod(planes, old=kind.planes))
    monkeypatch.setattr(class_walk._Walk, "_in_full", in_full)
    return noted


@pytest.mark.parametrize("masks", [True, False])
def test_few_classes_are_computed_where_few_are_there(masks, steps):
    both(Model(masks=masks, trained=True), WholeImage())
    # for each of the two images 16 classes, and the last 150 - 9 * 16 ones, which are part of every chunk
    assert steps["classes"] == [22, 22]


@pytest.mark.parametrize("policy", POLICIES[1:])
@pytest.mark.parametrize("masks", [True, False])
def test_pixels_that_no_bound_decides_are_computed_in_full(masks, policy, steps, monkeypatch):
    monkeypatch.setattr(class_walk, "_FEW", 1.0)
    found, wanted = both(Model(masks=masks, trained=False), policy)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True)) and steps["pixels"] > 100


@pytest.mark.parametrize("classes", [1, 2, 16, 17, 31, 48])
def test_any_number_of_classes(classes):
    scores = torch.randn(1, classes, 5, 7).contiguous(memory_format=torch.channels_last)
    model = types.SimpleNamespace(views=lambda _: [ScoreView(scores, (40, 56), (40, 56))])
    [found] = ids_by_classes(model, WholeImage(), [torch.zeros(3, 40, 56)], [(61, 80)])
    assert torch.equal(found, resize(resize(scores, (40, 56)), (61, 80))[0].max(dim=0).indices)


def test_of_equal_classes_the_first_is_taken():
    scores = torch.zeros(1, 40, 2, 2)
    scores[:, [35, 20, 38]] = 1.0
    model = types.SimpleNamespace(views=lambda _: [ScoreView(scores, (2, 2), (2, 2))])
    [found] = ids_by_classes(model, WholeImage(), [torch.zeros(3, 2, 2)], [(3, 3)])
    assert found.unique().tolist() == [20]


def test_masks_at_a_stride_that_is_no_power_of_two():
    masks, probabilities = 3 * torch.randn(1, 6, 5, 4), torch.rand(1, 6, 20)
    view = MaskView(masks, probabilities, (35, 28), (70, 56), (66, 50))
    model = types.SimpleNamespace(views=lambda _: [view])
    [found] = ids_by_classes(model, WholeImage(), [torch.zeros(3, 66, 50)], [(66, 50)])
    scores = resize(sum_of_masks(masks, probabilities, size=(35, 28)), (70, 56))[0, :, :66, :50]
    assert torch.equal(found, scores.max(dim=0).indices)
    rows, columns = torch.tensor([0, 65, 31]), torch.tensor([49, 0, 17])
    torch.testing.assert_close(view.at(rows, columns), scores[:, rows, columns].T)
