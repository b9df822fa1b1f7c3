"""The matching against all permutations, and its costs against the losses they stand for."""

import itertools

import pytest
import torch

from tokenseg.contracts import Targets
from tokenseg.losses.hungarian import HungarianAssigner, class_costs, dice_costs, focal_costs
from tokenseg.losses.mask import MaskLoss, MaskPrediction, dice_loss, focal_loss
from tokenseg.losses.mask_targets import SemanticMasks

ALL = dict(focal=20.0, dice=1.0, **{"class": 1.0})


def semantic(labels, num_classes=3):
    return SemanticMasks.of(Targets(labels), num_classes=num_classes, ignore_value=255)


@pytest.mark.parametrize(("costs", "loss"), [(focal_costs, focal_loss), (dice_costs, dice_loss)])
def test_costs_are_the_losses_of_single_pairs(costs, loss):
    logits, valid = torch.randn(4, 30), torch.rand(30) > 0.2
    masks = (torch.rand(3, 30) > 0.5) & valid
    got = costs(logits, masks, valid)
    for token, target in itertools.product(range(4), range(3)):
        wanted = loss(logits[token, None], masks[target, None], valid[None])
        if loss is focal_loss:  # a sum, and its cost a mean
            wanted = wanted / valid.sum()
        torch.testing.assert_close(got[token, target], wanted)


def test_least_cost_of_all_matchings():
    predictions = [MaskPrediction(torch.randn(2, 5, 4, 4), torch.randn(2, 5, 4)) for _ in range(2)]
    targets = torch.randint(0, 3, (2, 8, 8))
    targets[1] = 255
    targets[1, :4] = 2
    assigner, masks = HungarianAssigner(weights=ALL), semantic(targets)
    assert masks.per_image == (3, 1)
    for found, each in zip(assigner(predictions, masks), predictions, strict=True):
        assert sorted(zip(found.images.tolist(), found.masks.tolist(), strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 3)]
        costs = assigner.costs(each, masks)
        columns = torch.tensor([0, 1, 2, 0])[found.masks]  # places among the masks of their image
        got = costs[found.images, found.tokens, columns].sum()
        best = min(costs[0, list(tokens), [0, 1, 2]].sum() for tokens in itertools.permutations(range(5), 3))
        torch.testing.assert_close(got, best + costs[1, :, 0].min())


def test_the_right_tokens_are_found():
    targets = torch.zeros(1, 4, 4, dtype=torch.long)
    targets[:, 2:] = 1
    masks = torch.stack([targets == 1, targets == 5, targets == 0], 1) * 20.0 - 10
    assigner = HungarianAssigner(weights=dict(focal=1.0, dice=1.0))
    [pairs] = assigner([MaskPrediction(masks)], semantic(targets, num_classes=2))
    assert dict(zip(pairs.masks.tolist(), pairs.tokens.tolist(), strict=True)) == {0: 2, 1: 0}


def test_a_likely_class_is_cheap():
    """Two blank masks: the token that is sure of a class gets the mask of that class."""
    sure = torch.tensor([[[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]])
    found = semantic(torch.tensor([[[0, 1]]]), num_classes=2)
    costs = class_costs(sure, found)
    torch.testing.assert_close(costs, -sure.softmax(dim=-1)[..., :2])
    [pairs] = HungarianAssigner(weights={"class": 1.0})([MaskPrediction(torch.zeros(1, 3, 1, 2), sure)], found)
    assert dict(zip(pairs.masks.tolist(), pairs.tokens.tolist(), strict=True)) == {0: 1, 1: 0}


def test_more_classes_than_tokens():
    targets = torch.arange(4).view(1, 2, 2)
    loss = MaskLoss(num_classes=4, num_tokens=2, weights=ALL, assign=HungarianAssigner(weights=ALL))
    losses = loss([MaskPrediction(torch.randn(1, 2, 2, 2), torch.randn(1, 2, 5))], Targets.alone(loss, targets))
    assert torch.isfinite(sum(losses.values()))


@pytest.mark.parametrize("label", [255, 1])
def test_losses_are_finite_where_nothing_is_to_match(label):
    masks = torch.full((2, 3, 4, 4), float("nan") if label == 1 else 0.0, requires_grad=True)
    classes = torch.zeros(2, 3, 3, requires_grad=True)
    loss = MaskLoss(num_classes=2, num_tokens=3, weights=ALL, assign=HungarianAssigner(weights=ALL))
    targets = Targets.alone(loss, torch.full((2, 8, 8), label))
    total = sum(loss([MaskPrediction(masks, classes)], targets).values())
    total.backward()
    assert torch.isfinite(total) == (label == 255)  # a mask that is not finite shows in the loss, not in the matching
    assert masks.grad is not None and classes.grad is not None


def test_unknown_costs_are_refused():
    with pytest.raises(ValueError, match="wanted some of focal, dice, class"):
        HungarianAssigner(weights=dict(bce=1.0))
