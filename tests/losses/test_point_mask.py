"""Mask2Former's loss: by hand, ignored pixels, and points that follow the seed."""

import math

import pytest
import torch
from torch.nn import functional as F

from tokenseg.contracts import Targets
from tokenseg.layers.embedded_masks import EmbeddedMasks
from tokenseg.losses.mask_targets import GivenMasks
from tokenseg.losses.point_mask import PointMaskLoss, point_costs, point_losses
from tokenseg.losses.points import PointSampling

WEIGHTS = {"cross_entropy": 5.0, "dice": 5.0, "class": 2.0}


def make_loss(num_queries=4, **kwargs):
    arguments = dict(num_classes=3, num_queries=num_queries, weights=WEIGHTS, sampling=PointSampling(num_points=60))
    return PointMaskLoss(**arguments | kwargs)


def predictions(n=2, stages=2, num_queries=4, size=(6, 7)):
    features = torch.randn(n, 8, *size)
    return [
        EmbeddedMasks(torch.randn(n, num_queries, 8), features, torch.randn(n, num_queries, 4)) for _ in range(stages)
    ]


def values(loss, found, labels, seeds=(3, 4)):
    return loss(found, Targets.alone(loss, labels, [{"seed": seed} for seed in seeds[: len(labels)]]))


def test_losses_by_hand():
    logits, inside = torch.zeros(1, 4), torch.tensor([[1.0, 0.5, 0, 0]])
    entropy, dice = point_losses(logits, inside, torch.tensor([[1.0, 1, 1, 0]]))
    assert entropy.item() == pytest.approx(math.log(2))
    assert dice.item() == pytest.approx(1 - (2 * 0.75 + 1) / (1.5 + 1.5 + 1))


def test_losses_are_the_usual_ones_where_all_points_count():
    logits, inside = torch.randn(5, 30), torch.rand(5, 30)
    entropy, _ = point_losses(logits, inside, torch.ones(5, 30))
    wanted = F.binary_cross_entropy_with_logits(logits, inside, reduction="none").mean(1).sum()
    torch.testing.assert_close(entropy, wanted)


def test_costs_are_the_losses_of_single_pairs():
    logits, valid = torch.randn(4, 30), torch.rand(30)
    inside = torch.rand(3, 30) * valid
    costs = point_costs(logits, inside, valid)
    for query in range(4):
        for mask in range(3):
            wanted = point_losses(logits[query, None], inside[mask, None], valid[None])
            torch.testing.assert_close((costs["cross_entropy"][query, mask], costs["dice"][query, mask]), wanted)


def test_a_query_that_is_sure_of_a_class_learns_its_mask():
    """All masks are blank, so that the classes alone decide who is matched: queries 2 and 0, at hardly any cost."""
    labels = torch.zeros(1, 12, 14, dtype=torch.long)
    labels[:, 6:] = 1
    sure = 20 * F.one_hot(torch.tensor([[1, 3, 0, 3]]), 4).float()
    blank = [EmbeddedMasks(torch.zeros(1, 4, 8), torch.zeros(1, 8, 6, 7), sure)]
    assert values(make_loss(), blank, labels)["loss_class"].item() < 1e-6


@pytest.mark.parametrize(("by_class", "lower"), [(0.0, "loss_cross_entropy"), (100.0, "loss_class")])
def test_the_matching_may_have_weights_of_its_own(by_class, lower):
    """Query 0 draws the one mask of the image and denies its class, query 1 the reverse."""
    features = torch.full((1, 1, 6, 7), 5.0)
    logits = 5 * F.one_hot(torch.tensor([[3, 2]]), 4).float()
    found, labels = [EmbeddedMasks(torch.tensor([[[1.0], [-1.0]]]), features, logits)], torch.full((1, 12, 14), 2)
    costs = {"cross_entropy": 1.0, "dice": 1.0, "class": by_class}
    got = values(make_loss(num_queries=2, cost_weights=costs), found, labels)
    higher = {"loss_cross_entropy", "loss_class"} - {lower}
    assert 3 * got[lower] < got[higher.pop()]


def test_what_lies_under_ignored_pixels_counts_nowhere():
    labels = torch.zeros(1, 12, 14, dtype=torch.long)
    labels[:, :, 8:] = 255
    (found,), loss = predictions(n=1, stages=1), make_loss()
    other = found._replace(features=found.features.clone())
    other.features[..., 5:] = 9.0  # cells that no valid pixel touches
    sampling = PointSampling(num_points=60, uncertain=0.0)  # the same points, whatever the masks show
    loss.sampling = sampling
    one, two = (values(loss, [each], labels) for each in (found, other))
    torch.testing.assert_close(one, two)


def test_the_draw_does_not_depend_on_the_batch():
    labels, found, loss = torch.randint(0, 3, (2, 12, 14)), predictions(), make_loss()
    whole = Targets.alone(loss, labels, [{"seed": 3}, {"seed": 4}])
    parts = [
        loss(
            [EmbeddedMasks(*(x[place, None] for x in each)) for each in found],
            Targets(labels[place, None], [{"seed": place + 3}], whole.counts),
        )
        for place in range(2)
    ]
    for name, value in loss(found, whole).items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def test_other_seeds_draw_other_points():
    labels, found, loss = torch.randint(0, 3, (1, 12, 14)), predictions(n=1), make_loss()
    one, same, other = (values(loss, found, labels, [seed])["loss_dice"] for seed in (1, 1, 2))
    assert one == same != other


def test_a_perfect_prediction_costs_nothing():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :, 4:] = 2
    side = torch.where(torch.arange(8) < 4, 1.0, -1.0).expand(1, 1, 8, 8) * 10
    embeddings, logits = torch.tensor([[[-1.0], [0.0], [1.0]]]), torch.full((1, 3, 4), -30.0)
    logits[0, [0, 1, 2], [2, 3, 0]] = 30.0
    found = [EmbeddedMasks(embeddings, side, logits)]
    sampling = PointSampling(num_points=200, uncertain=0.0)
    losses = values(make_loss(num_queries=3, sampling=sampling), found, labels)
    assert losses["loss_class"] < 1e-4 and losses["loss_dice"] < 1 and losses["loss_cross_entropy"] < 2


def test_masks_of_instances_may_share_a_class():
    masks = [torch.zeros(2, 12, 14, dtype=torch.bool), torch.zeros(0, 12, 14, dtype=torch.bool)]
    masks[0][0, :, :5], masks[0][1, :, 6:] = True, True
    valid = torch.ones(2, 12, 14, dtype=torch.bool)
    given = GivenMasks.of(masks, [torch.tensor([1, 1]), torch.zeros(0, dtype=torch.long)], valid)
    loss = make_loss(find_masks=lambda targets: given)
    targets = Targets.alone(loss, torch.zeros(2, 12, 14, dtype=torch.long))
    assert targets.counts["masks"] == 2 and targets.counts["tokens"] == pytest.approx(2 + 0.1 * 6)
    assert all(torch.isfinite(value) for value in loss(predictions(), targets).values())


def test_a_prediction_that_is_not_finite_shows_in_the_loss():
    found = predictions(n=1)
    found[0].embeddings[0, 0] = float("nan")
    assert not torch.isfinite(sum(values(make_loss(num_queries=4), found, torch.arange(3).repeat(1, 12, 5)).values()))


def test_bad_arguments():
    with pytest.raises(ValueError, match="wanted cross_entropy, dice, class"):
        make_loss(weights={"focal": 1.0})
    with pytest.raises(ValueError, match="there is no prediction"):
        make_loss()([], Targets(torch.zeros(1, 4, 4, dtype=torch.long)))
    with pytest.raises(ValueError, match="has 4 queries; wanted num_queries, 5"):
        make_loss(num_queries=5)(predictions(), Targets(torch.zeros(2, 4, 4, dtype=torch.long)))
