"""Matching and losses of the regions, on cases whose answer is known."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tokenseg.contracts import Targets
from tokenseg.losses.mask import focal_terms
from tokenseg.sgr.matching import match, matching_costs
from tokenseg.sgr.region_loss import RegionLoss, union_logits

SURE = 40.0


def blocks(count, size=(8, 8)):
    """(count, P): the cells of a map, dealt out in runs of about equal length."""
    cells = size[0] * size[1]
    return (torch.arange(cells) * count // cells == torch.arange(count)[:, None]).float()


def inputs(components, size=(8, 8), valid=None):
    valid = torch.ones(size) if valid is None else valid
    return [{"components": torch.cat([valid[None], components.view(-1, *size)])}]


def losses(logits, components, size=(8, 8), valid=None, **changes):
    loss = RegionLoss(
        **{"regions": "r", "num_active": 4, "weight": 1.0, "dice_weight": 1.0, "cosine_weight": 1.0, **changes}
    )
    labels = torch.zeros(1, 8 * size[0], 8 * size[1])
    return losses_of(loss, {"r": logits.view(1, len(logits), *size)}, labels, inputs(components, size, valid))


def losses_of(loss, features, labels, records):
    return loss(features, Targets.alone(loss, labels, records))


def dice(p, mask, valid):
    return 1 - (2 * (p * mask).sum() + 1) / ((p * valid).sum() + mask.sum() + 1)


def focal(z, mask, valid, alpha=0.25):
    p = z.sigmoid()
    inside = -alpha * (1 - p) ** 2 * p.log()
    outside = -(1 - alpha) * p**2 * (1 - p).log()
    return (mask * inside + (valid - mask) * outside).sum() / valid.sum()


def test_costs_are_the_losses_of_single_pairs():
    logits, valid = torch.randn(2, 5, 12), torch.rand(2, 12)
    components = torch.rand(2, 3, 12) * valid[:, None]
    got = matching_costs(logits, components, valid, dice_weight=0.3)
    assert got.shape == (2, 3, 5)
    for n, m, k in itertools.product(range(2), range(3), range(5)):
        z, mask = logits[n, k], components[n, m]
        wanted = focal(z, mask, valid[n]) + 0.3 * dice(z.sigmoid(), mask, valid[n])
        torch.testing.assert_close(got[n, m, k], wanted)


def test_autocast_changes_nothing():
    logits, components = torch.randn(8, 64), blocks(3)
    wanted = losses(logits, components)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = losses(logits, components)
        costs = matching_costs(logits[None], components[None], torch.ones(1, 64), dice_weight=0.3)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    torch.testing.assert_close(
        costs, matching_costs(logits[None], components[None], torch.ones(1, 64), dice_weight=0.3), rtol=0, atol=0
    )


def test_costs_that_are_not_finite_do_not_end_the_matching():
    regions, components = match(np.array([[np.nan, 1.0, np.inf]]), 2)
    assert len(set(regions.tolist())) == 2 and components.tolist() == [0, 0]


def test_components_of_another_stride_are_refused():
    loss, label = RegionLoss(regions="r", num_active=4), torch.zeros(64, 64, dtype=torch.long)
    features, coarse = {"r": torch.randn(1, 8, 8, 8)}, torch.ones(2, 4, 4)
    with pytest.raises(ValueError, match=r"\(4, 4\) cells for labels of \(64, 64\) pixels; wanted \(8, 8\)"):
        losses_of(loss, features, label[None], [{"components": coarse, "sem_seg": label}])
    with pytest.raises(ValueError, match=r"\(9, 9\) cells"):
        losses_of(loss, features, label[None], [{"components": torch.ones(2, 9, 9)}])


def test_matching_in_two_stages_by_hand():
    costs = np.array([[1.0, 2, 9, 7, 0.5], [1.1, 8, 3, 4, 9]])
    # best one-to-one: component 0 takes region 4, component 1 takes region 0; then region 1 (2), region 2 (3)
    regions, components = match(costs, 4)
    assert dict(zip(regions.tolist(), components.tolist(), strict=True)) == {4: 0, 0: 1, 1: 0, 2: 1}
    assert [len(x) for x in match(np.zeros((0, 5)), 4)] == [0, 0]


def test_the_second_stage_takes_cheapest_entries_first():
    """Against going through all entries in order of cost."""
    costs = np.random.default_rng(0).random((3, 20))
    regions, components = match(costs, 9)
    free, wanted = set(range(20)) - set(regions[:3].tolist()), []
    for component, region in sorted(itertools.product(range(3), range(20)), key=lambda pair: costs[pair]):
        if region in free and len(wanted) < 6:
            wanted.append((region, component))
            free.remove(region)
    assert list(zip(regions[3:].tolist(), components[3:].tolist(), strict=True)) == wanted
    assert sorted(components[:3]) == [0, 1, 2]


def test_regions_equal_to_components_cost_nothing():
    masks = blocks(3)
    got = losses(torch.cat([masks * 2 - 1, -torch.ones(3, 64)]) * SURE, masks)
    assert all(value.item() == pytest.approx(0, abs=1e-5) for value in got.values())
    assert set(got) == {"loss_region_focal", "loss_region_dice", "loss_region_cosine"}


def test_halves_unite_and_twins_do_not():
    """Two halves of a component are as good as one region; two equal regions are, but for the cosine."""
    masks = blocks(4)
    whole = masks[:2].sum(0, keepdim=True)
    halves = losses((masks * 2 - 1) * SURE, whole, num_active=2)
    assert sum(halves.values()).item() == pytest.approx(0, abs=1e-5)
    twins = losses((whole.expand(2, -1) * 2 - 1) * SURE, whole, num_active=2)
    assert twins["loss_region_cosine"].item() == pytest.approx(1)
    assert twins["loss_region_focal"].item() == pytest.approx(0, abs=1e-5)


def test_losses_by_a_plain_rendering():
    logits, valid = torch.randn(6, 64), (torch.rand(64) > 0.2).float()
    components = blocks(2) * valid
    got = losses(logits, components, valid=valid.view(8, 8), dice_weight=0.3, cosine_weight=0.7, weight=2.0)
    regions, owners = match(matching_costs(logits[None], components[None], valid[None], dice_weight=0.3)[0].numpy(), 4)
    unions = [1 - (1 - logits[regions[owners == m]].sigmoid()).prod(dim=0) for m in range(2)]
    wanted = sum(focal(u.logit(), mask, valid) for u, mask in zip(unions, components, strict=True)) / 2
    torch.testing.assert_close(got["loss_region_focal"], 2 * wanted)
    wanted = 0.3 * sum(dice(u, mask, valid) for u, mask in zip(unions, components, strict=True)) / 2
    torch.testing.assert_close(got["loss_region_dice"], 2 * wanted)
    pairs = [(a, b) for a, b in itertools.combinations(range(4), 2) if owners[a] == owners[b]]
    maps = logits[regions].sigmoid() * valid
    wanted = 0.7 * sum(F.cosine_similarity(maps[a], maps[b], dim=0) for a, b in pairs) / len(pairs)
    torch.testing.assert_close(got["loss_region_cosine"], 2 * wanted)


@pytest.mark.parametrize("z", [-60.0, -4.6, 0.0, 5.0, 60.0])
def test_the_union_of_one_is_itself(z):
    logits = torch.full((1, 1, 3), z, requires_grad=True)
    union = union_logits(logits, torch.ones(1, 1, 1))
    union.sum().backward()
    torch.testing.assert_close(union, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits.grad, torch.ones(1, 1, 3), rtol=1e-3, atol=0)


def test_the_printed_sum_is_cut_at_one():
    logits = torch.tensor([0.2, 0.3, 0.8]).logit().view(1, 3, 1)
    sums = union_logits(logits, torch.tensor([[[1.0, 1, 0], [1, 0, 1], [0, 1, 1]]]), "sum_clamped")
    torch.testing.assert_close(sums.sigmoid().flatten(), torch.tensor([0.5, 1.0, 1.0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_every_matched_region_has_a_gradient_at_the_start(count):
    logits = (torch.randn(128, 256) * 0.3 - 4.6).requires_grad_()
    got = losses(logits, blocks(count, (16, 16)), size=(16, 16), num_active=64)
    sum(got.values()).backward()
    # by the union alone too
    assert (logits.grad.abs().sum(dim=1) > 0).sum() == 64
    logits.grad = None
    (got := losses(logits, blocks(count, (16, 16)), size=(16, 16), num_active=64, cosine_weight=0.0))
    assert "loss_region_cosine" not in got
    sum(got.values()).backward()
    assert (logits.grad.abs().sum(dim=1) > 0).sum() == 64


@pytest.mark.parametrize("union", ["noisy_or", "sum_clamped"])
def test_no_component_at_all(union):
    logits = torch.randn(6, 64, requires_grad=True)
    got = losses(logits, torch.zeros(0, 64), valid=torch.zeros(8, 8), union=union)
    total = sum(got.values())
    total.backward()
    assert total.item() == 0 and torch.equal(logits.grad, torch.zeros(6, 64))


def test_ignored_cells_count_nowhere():
    logits, valid = torch.randn(6, 64), (torch.arange(64) < 40).float()
    components = blocks(2) * valid
    other = torch.where(valid > 0, logits, torch.randn(6, 64))
    pair = [losses(x, components, valid=valid.view(8, 8)) for x in (logits, other)]
    torch.testing.assert_close(*pair)


def test_images_share_one_normaliser_and_padding_counts_nowhere():
    """A batch of a small and a large image, with other numbers of components, is the mean over components."""
    small, large = torch.randn(5, 64), torch.randn(5, 256)
    loss = RegionLoss(regions="r", num_active=4, cosine_weight=0.0)
    padded = torch.full((1, 5, 16, 16), 3.0)
    padded[0, :, :8, :8] = small.view(5, 8, 8)
    records = inputs(blocks(1)) + inputs(blocks(3, (16, 16)), (16, 16))
    both = losses_of(loss, {"r": torch.cat([padded, large.view(1, 5, 16, 16)])}, torch.zeros(2, 128, 128), records)
    one = losses_of(loss, {"r": small.view(1, 5, 8, 8)}, torch.zeros(1, 64, 64), records[:1])
    two = losses_of(loss, {"r": large.view(1, 5, 16, 16)}, torch.zeros(1, 128, 128), records[1:])
    for name, value in both.items():
        torch.testing.assert_close(value, (one[name] + 3 * two[name]) / 4)


def test_the_cosine_is_the_mean_over_images_of_the_mean_over_pairs():
    """One image has one pair of twins, the other three pairs of regions of which two share half."""
    loss = RegionLoss(regions="r", num_active=3, weight=1.0, cosine_weight=1.0)
    one, two = blocks(2), blocks(1)
    halves = torch.stack([two[0], blocks(2)[0], blocks(2)[1]])
    first = torch.cat([one, one[:1]])
    logits = torch.stack([first, halves]).view(2, 3, 8, 8) * 2 - 1
    both = losses_of(loss, {"r": logits * SURE}, torch.zeros(2, 64, 64), inputs(one) + inputs(two))
    # cosines: 1 for the twins; whole and half 1 / sqrt(2) twice and the two halves 0
    wanted = (1 + 2 * 0.5**0.5 / 3) / 2
    assert both["loss_region_cosine"].item() == pytest.approx(wanted, abs=1e-5)


def test_regions_on_a_coarser_map_are_resized():
    logits, components = torch.randn(1, 5, 4, 4), inputs(blocks(2))
    loss, targets = RegionLoss(regions="r", num_active=4), torch.zeros(1, 64, 64)
    fine = F.interpolate(logits, size=(8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        losses_of(loss, {"r": logits}, targets, components), losses_of(loss, {"r": fine}, targets, components)
    )


def test_focal_terms_do_not_overflow():
    z = torch.tensor([-200.0, 200.0], requires_grad=True)
    inside, outside = focal_terms(z)
    (inside + outside).sum().backward()
    torch.testing.assert_close(inside.detach(), torch.tensor([50.0, 0]))
    torch.testing.assert_close(outside.detach(), torch.tensor([0, 150.0]))
    assert torch.isfinite(z.grad).all()


def test_mistakes():
    with pytest.raises(ValueError, match="union is 'max'; wanted one of noisy_or, sum_clamped"):
        RegionLoss(regions="r", union="max")
    with pytest.raises(ValueError, match="num_active is 1"):
        RegionLoss(regions="r", num_active=1)
    with pytest.raises(ValueError, match=r"give the training mapper label_targets\.components"):
        losses_of(RegionLoss(regions="r"), {"r": torch.zeros(1, 64, 2, 2)}, torch.zeros(1, 16, 16), [{}])
    with pytest.raises(ValueError, match="4 components; wanted fewer than num_active, 4"):
        losses(torch.zeros(8, 64), blocks(4))
    with pytest.raises(ValueError, match="there are 3 regions; wanted num_active, 4"):
        losses(torch.zeros(3, 64), blocks(1))
