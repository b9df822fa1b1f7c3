"""Class weights in the losses of pixels, masks and points: in sums and in what they are divided by."""

import pytest
import torch
from torch.nn import functional as F

from tokenseg.contracts import Targets
from tokenseg.layers.embedded_masks import EmbeddedMasks
from tokenseg.losses.mask import MaskLoss, MaskPrediction, dice_loss, focal_loss
from tokenseg.losses.pixel import count_pixels, pixel_cross_entropy
from tokenseg.losses.point_mask import PointMaskLoss, point_losses
from tokenseg.losses.points import PointSampling

WEIGHTS = torch.tensor([2.0, 0.5, 1.0])


def weighted(part, labels, weights):
    targets = Targets(labels, class_weights=weights)
    return targets.with_counts(part.count(targets))


def test_cross_entropy_is_torchs_weighted_mean():
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    targets = Targets(labels, class_weights=WEIGHTS)
    targets = targets.with_counts(count_pixels(targets, ignore_value=255))
    loss = pixel_cross_entropy(logits, targets, ignore_value=255)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, WEIGHTS, ignore_index=255))


def masks_of(labels):
    return MaskPrediction(torch.randn(len(labels), 3, 4, 4, requires_grad=True), torch.randn(len(labels), 3, 4))


LABELS = torch.tensor([[[0] * 4, [0] * 4, [1] * 4, [255] * 4]])  # two rows of class 0, one of class 1


def test_masks_count_as_much_as_their_class():
    loss = MaskLoss(num_classes=3, weights=dict(focal=1.0, dice=1.0, **{"class": 1.0}))
    prediction, targets = masks_of(LABELS), weighted(loss, LABELS, WEIGHTS)
    assert {name: float(count) for name, count in targets.counts.items()} == pytest.approx(
        {"masks": 2.5, "tokens": 2.5 + 0.1, "mask_pixels": 2.5 * 16}
    )
    found = loss([prediction], targets)
    valid = (LABELS != 255).flatten(1)
    parts = [
        (weight, prediction.masks[0, k].flatten()[None], (k == LABELS).flatten(1))
        for k, weight in enumerate([2.0, 0.5])
    ]
    for name, term, count in (("dice", dice_loss, 2.5), ("focal", focal_loss, 2.5 * 16)):
        wanted = sum(weight * term(logits, mask, valid) for weight, logits, mask in parts) / count
        torch.testing.assert_close(found[f"loss_{name}"], wanted)
    wanted = F.cross_entropy(prediction.class_logits[0], torch.tensor([0, 1, 3]), torch.tensor([2.0, 0.5, 1.0, 0.1]))
    torch.testing.assert_close(found["loss_class"], wanted)


def test_a_class_of_no_weight_teaches_nothing():
    loss = MaskLoss(num_classes=3, weights=dict(focal=1.0, dice=1.0))
    prediction = masks_of(LABELS)
    sum(loss([prediction], weighted(loss, LABELS, torch.tensor([1.0, 0.0, 1.0]))).values()).backward()
    moved = prediction.masks.grad.abs().sum(dim=(0, 2, 3)) > 0
    assert moved.tolist() == [True, False, False]


@pytest.mark.parametrize("queries", [2, 4])
def test_equal_weights_change_no_term_of_points(queries):
    loss = PointMaskLoss(
        num_classes=3,
        num_queries=queries,
        weights={"cross_entropy": 5.0, "dice": 5.0, "class": 2.0},
        sampling=PointSampling(num_points=60),
        no_object_weight=1.0,
    )
    labels, features = torch.randint(0, 3, (2, 12, 14)), torch.randn(2, 8, 6, 7)
    found = [EmbeddedMasks(torch.randn(2, queries, 8), features, torch.randn(2, queries, 4)) for _ in range(2)]
    seeds = [{"seed": 3}, {"seed": 4}]
    plain = loss(found, Targets.alone(loss, labels, seeds))
    equal = Targets(labels, seeds, class_weights=torch.ones(3))
    torch.testing.assert_close(loss(found, equal.with_counts(loss.count(equal))), plain)


def test_points_of_a_mask_count_as_much_as_its_class():
    logits, inside, valid = torch.randn(2, 30), torch.rand(2, 30), torch.ones(2, 30)
    each = [point_losses(logits[place, None], inside[place, None], valid[:1]) for place in range(2)]
    both = point_losses(logits, inside, valid, weights=torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(both, tuple(2 * one + 0.5 * other for one, other in zip(*each, strict=True)))
