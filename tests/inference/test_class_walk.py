"""Class ids without all scores, against the scores of all classes."""

import pytest
import torch
from torch.nn import functional as F

from tokenseg.inference.class_walk import ids_by_classes
from tokenseg.inference.coarse_views import MaskView, ScoreView
from tokenseg.inference.policy import SlidingWindow, WholeImage
from tokenseg.layers.bilinear_taps import resized_at, taps_of_side
from tokenseg.layers.mask_scores import class_probabilities, sum_of_masks
from tokenseg.layers.resize import resize

STRIDE, CLASSES, TOKENS = 8, 150, 40


class Model:
    """Maps drawn by the place and content of each view: scores, or masks and class logits."""

    def __init__(self, *, masks, trained):
        self.masks, self.trained, self.planes = masks, trained, 0

    def views(self, images):
        return [self.view(image) for image in images]

    def view(self, image):
        draw = torch.Generator().manual_seed(int(image.double().sum() * 1000))
        own = tuple(image.shape[-2:])
        cells = [-(-side // STRIDE) for side in own]
        size = tuple(STRIDE * side for side in cells)
        present = torch.arange(3, CLASSES, 31)
        if self.masks:
            masks = torch.randn(1, TOKENS, *cells, generator=draw) * (4 if self.trained else 0.1)
            logits = torch.randn(1, TOKENS, CLASSES + 1, generator=draw)
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
    model = Model(masks=masks, trained=trained)
    images, sizes = [torch.rand(3, 67, 85), torch.rand(3, 48, 40)], [(101, 90), (35, 70)]
    wanted = [scores.max(dim=0).indices for scores in policy(model, images, sizes)]
    found = ids_by_classes(model, policy, images, sizes)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))
