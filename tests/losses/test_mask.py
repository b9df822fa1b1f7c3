"""Mask losses on numbers worked out by hand, and against torchvision's focal loss."""

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from tokenseg.contracts import Targets
from tokenseg.losses.mask import (
    MaskLoss,
    MaskPrediction,
    Pairs,
    assign_by_class,
    class_loss,
    class_targets,
    dice_loss,
    focal_loss,
    masks_at_pixels,
)
from tokenseg.losses.mask_targets import GivenMasks, SemanticMasks, present_classes

ALL = dict(focal=20.0, dice=1.0, **{"class": 1.0})
YES, NO = 1e4, -1e4  # logits whose sigmoid is 1 and 0


def bools(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def prediction(n=2, k=3, size=(4, 4)):
    return MaskPrediction(torch.randn(n, k, *size, requires_grad=True), torch.randn(n, k, k + 1, requires_grad=True))


def semantic(labels, num_classes=3):
    return SemanticMasks.of(Targets(labels), num_classes=num_classes, ignore_value=255)


def losses_of(loss, predictions, labels):
    return loss(predictions, Targets.alone(loss, labels))


def test_focal_by_hand():
    logits = torch.zeros(1, 2)  # p = 1/2 everywhere: each pixel costs alpha_t / 4 * ln 2
    masks = bools([1, 0])
    everywhere = focal_loss(logits, masks, bools([1, 1]))
    assert everywhere.item() == pytest.approx((0.25 + 0.75) / 4 * math.log(2))
    one_ignored = focal_loss(logits, masks, bools([1, 0]))
    assert one_ignored.item() == pytest.approx(0.25 / 4 * math.log(2))


def test_focal_equals_torchvision():
    logits, masks = torch.randn(5, 40) * 4, torch.rand(5, 40) > 0.6
    wanted = sigmoid_focal_loss(logits, masks.float(), alpha=0.25, gamma=2).sum()
    torch.testing.assert_close(focal_loss(logits, masks, torch.ones_like(masks)), wanted)


@pytest.mark.parametrize("loss", [focal_loss, dice_loss])
def test_extreme_logits_are_finite(loss):
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], requires_grad=True)
    value = loss(logits, bools([1, 1, 0, 0]), bools([1, 1, 1, 1]))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()


def test_dice_by_hand():
    logits, masks = torch.tensor([[YES, YES, NO]]), bools([1, 0, 0])
    assert dice_loss(logits, masks, bools([1, 1, 1])).item() == pytest.approx(1 - 3 / 4)
    assert dice_loss(logits, masks, bools([1, 0, 1])).item() == pytest.approx(0)


def test_classes_by_hand():
    logits = torch.zeros(2, 2, 3)  # two images, two classes and 'no object': each token costs ln 3
    logits[0, 0] = torch.tensor([YES, 0, 0])  # right, costs nothing
    found = semantic(torch.tensor([[[0]], [[255]]]), num_classes=2)
    labels, weights = class_targets(logits, *assign_by_class([None], found), found, no_object_weight=0.1)
    assert labels.tolist() == [[0, 2], [2, 2]]
    torch.testing.assert_close(weights, torch.tensor([[1, 0.1], [0, 0]]))
    assert class_loss(logits, labels, weights).item() == pytest.approx(0.1 * math.log(3))


def test_present_classes():
    targets = torch.tensor([[[0, 2], [255, 2]], [[255, 255], [255, 255]]])
    found = present_classes(targets, num_classes=3, ignore_value=255)
    assert found.tolist() == [[True, False, True], [False, False, False]]
    masks = semantic(targets)
    assert masks.per_image == (2, 0) and masks.shown.tolist() == [True, False]
    pairs = assign_by_class([None, None], masks)
    assert [x.tolist() for x in pairs[1]] == [[0, 0], [0, 2], [0, 1]]
    assert masks.masks(torch.tensor([1])).tolist() == [[[False, True], [False, True]]]


def test_masks_are_resized_to_the_labels():
    masks, targets = torch.randn(2, 3, 2, 5), torch.randint(0, 3, (2, 7, 11))
    targets[1, :3] = 255
    found = semantic(targets)  # image 0 has masks 0 to 2, image 1 masks 3 to 5
    pairs = Pairs(torch.tensor([1, 0]), torch.tensor([2, 1]), torch.tensor([3, 1]))
    logits, wanted, valid = masks_at_pixels(masks, pairs, found)
    whole = F.interpolate(masks, size=(7, 11), mode="bilinear")
    torch.testing.assert_close(logits, torch.stack([whole[1, 2], whole[0, 1]]).flatten(1))
    assert torch.equal(wanted, torch.stack([targets[1] == 0, targets[0] == 1]).flatten(1))
    assert torch.equal(valid, (targets != 255)[[1, 0]].flatten(1))


def test_loss_by_hand():
    """One image with a row of class 0, a row of class 2 and a row to ignore; three blank predictions."""
    targets = torch.tensor([[[0, 0], [2, 2], [255, 255]]])
    blank = MaskPrediction(torch.zeros(1, 3, 3, 2), torch.zeros(1, 3, 4))
    losses = losses_of(MaskLoss(num_classes=3, weights=ALL), [blank] * 3, targets)
    # two masks of six pixels, two inside and two outside, which cost ln 2 / 16 and 3 ln 2 / 16 each
    assert losses["loss_focal"].item() == pytest.approx(3 * 20 * (2 + 6) / 16 * math.log(2) / 6)
    assert losses["loss_dice"].item() == pytest.approx(3 * (1 - 3 / 5))
    assert losses["loss_class"].item() == pytest.approx(3 * math.log(4))


def test_ignored_pixels_count_for_nothing():
    loss, (masks, classes) = MaskLoss(num_classes=3, weights=ALL), prediction(size=(8, 8))
    targets = torch.randint(0, 3, (2, 8, 8))
    targets[:, :, 5:] = 255
    targets[:, 0, :3] = torch.arange(3)
    got = losses_of(loss, [MaskPrediction(masks, classes)], targets)
    wanted = losses_of(loss, [MaskPrediction(masks[..., :5], classes)], targets[..., :5])
    wanted["loss_focal"] = wanted["loss_focal"] * 5 / 8  # which is divided by all pixels, ignored ones too
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value)
    sum(got.values()).backward()
    assert not masks.grad[..., 5:].any()


@pytest.mark.parametrize("labels", [(255, 255), (255, 1), (1, 1), (0, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_prediction_gets_a_finite_gradient(labels, dtype):
    predictions = [prediction(), prediction()]
    targets = torch.stack([torch.full((8, 8), label) for label in labels])
    cast = [MaskPrediction(p.masks.to(dtype), p.class_logits.to(dtype)) for p in predictions]
    losses = losses_of(MaskLoss(num_classes=3, weights=ALL), cast, targets)
    total = sum(losses.values())
    total.backward()
    assert total.dtype == torch.float32 and torch.isfinite(total)
    gradients = [x.grad for p in predictions for x in p]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert (total.item() == 0) == (labels == (255, 255))


@pytest.mark.parametrize("kept", [1, 30, 64])
def test_a_pixel_has_the_gradient_that_the_authors_give_it(kept):
    """However much of its crop is ignored; they take the mean over all pixels, ignored ones being outside."""
    masks = torch.randn(1, 1, 8, 8, requires_grad=True)
    labels = torch.full((64,), 255)
    labels[:kept] = 0
    loss = MaskLoss(num_classes=1, weights=dict(focal=1.0))
    (ours,) = torch.autograd.grad(sum(losses_of(loss, [MaskPrediction(masks)], labels.view(1, 8, 8)).values()), masks)
    theirs = sigmoid_focal_loss(masks.flatten(), (labels == 0).float(), alpha=0.25, gamma=2).mean()
    (wanted,) = torch.autograd.grad(theirs, masks)
    torch.testing.assert_close(ours, wanted * (labels == 0).view(1, 1, 8, 8))
    assert ours.abs().sum() > 0


@pytest.mark.parametrize(("logit", "times"), [(0.0, 167), (-8.0, 1.1)])
def test_how_far_dice_exceeds_the_authors_in_a_crop_that_is_nearly_ignored(logit, times):
    """As the page of SegViT says: 28 x 28 valid pixels of 512 x 512, half of them of a class; the masks are blank, or
    right and, at the ignored pixels, outside."""
    labels = torch.full((1, 512, 512), 255)
    labels[:, :28, :28] = (torch.arange(28) >= 14).long()
    wanted = torch.stack([labels[0] == 0, labels[0] == 1])
    masks = torch.where(wanted, -logit, logit)[None].requires_grad_()
    loss = MaskLoss(num_classes=2, weights=dict(dice=1.0))
    (ours,) = torch.autograd.grad(losses_of(loss, [MaskPrediction(masks)], labels)["loss_dice"], masks)
    everywhere = torch.ones(2, 512 * 512, dtype=torch.bool)
    (theirs,) = torch.autograd.grad(dice_loss(masks[0].flatten(1), wanted.flatten(1), everywhere) / 2, masks)
    shown = (labels != 255)[:, None].expand_as(masks)
    assert float(ours[shown].abs().sum() / theirs[shown].abs().sum()) == pytest.approx(times, rel=0.02)


def test_the_padding_of_a_batch_weighs_nothing():
    """Images of two sizes together cost what they cost one after the other."""
    loss = MaskLoss(num_classes=3, weights=dict(focal=5.0))
    images = [torch.randint(0, 3, size) for size in ((8, 8), (4, 6))]
    padded = torch.full((2, 8, 8), 255)
    padded[0], padded[1, :4, :6] = images
    records, (masks, _) = [{"sem_seg": image} for image in images], prediction(size=(8, 8))
    targets = Targets.alone(loss, padded, records)
    together = loss([MaskPrediction(masks)], targets)["loss_focal"]
    parts = [Targets(padded[:1], records[:1]), Targets(images[1][None], records[1:])]
    cut = [masks[:1], masks[1:, :, :4, :6]]
    pairs = zip(cut, parts, strict=True)
    apart = [loss([MaskPrediction(x)], part.with_counts(targets.counts))["loss_focal"] for x, part in pairs]
    torch.testing.assert_close(together, sum(apart))
    assert targets.counts["mask_pixels"] == 3 * 64 + 3 * 24


def test_an_ignored_image_changes_nothing():
    loss, (masks, classes) = MaskLoss(num_classes=3, weights=ALL), prediction()
    targets = torch.randint(0, 3, (2, 8, 8))
    targets[1] = 255
    got = losses_of(loss, [MaskPrediction(masks, classes)], targets)  # it has no mask, and so no pixels of masks
    wanted = losses_of(loss, [MaskPrediction(masks[:1], classes[:1])], targets[:1])
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value)


def test_only_named_terms_are_there():
    targets = torch.zeros(2, 8, 8, dtype=torch.long)
    losses = losses_of(
        MaskLoss(num_classes=3, weights=dict(focal=5.0, dice=2.0)), [MaskPrediction(prediction().masks)], targets
    )
    assert list(losses) == ["loss_focal", "loss_dice"]
    with pytest.raises(ValueError, match="wanted some of focal, dice, class"):
        MaskLoss(num_classes=3, weights=dict(iou=1.0))
    with pytest.raises(ValueError, match="no class_logits"):
        losses_of(MaskLoss(num_classes=3, weights=ALL), [MaskPrediction(prediction().masks)], targets)
    with pytest.raises(ValueError, match="no prediction"):
        losses_of(MaskLoss(num_classes=3, weights=ALL), [], targets)


def test_masks_of_instances_are_learnt_as_those_of_classes_are():
    """Given one by one, the masks of the classes cost the same; overlapping ones count each for itself."""
    labels, stage = torch.randint(0, 3, (2, 8, 8)), prediction()
    labels[1, :3] = 255
    as_instances = [one.unique()[one.unique() != 255] for one in labels]
    given = GivenMasks.of(
        [one == classes[:, None, None] for one, classes in zip(labels, as_instances, strict=True)],
        as_instances,
        labels != 255,
    )
    loss = MaskLoss(num_classes=3, weights=ALL, find_masks=lambda _: given)
    wanted = losses_of(MaskLoss(num_classes=3, weights=ALL), [stage], labels)
    torch.testing.assert_close(losses_of(loss, [stage], labels), wanted)
    semantic_size, given_size = semantic(labels).at_size((4, 4)), given.at_size((4, 4))
    assert all(torch.equal(*pair) for pair in zip(semantic_size, given_size, strict=True))


def test_counts_by_hand():
    labels = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [1, 255]], [[255, 255], [255, 255]]])
    counts = MaskLoss(num_classes=3, num_tokens=2, weights=ALL).count(Targets(labels))
    # two tokens: two of three masks, one of one, and an image that says nothing
    assert counts["masks"].item() == 3 and counts["tokens"].item() == pytest.approx(2 + 1 + 0.1)
    assert counts["mask_pixels"].item() == 2 * 4 + 4


def test_predictions_of_another_number_of_tokens_are_refused():
    with pytest.raises(ValueError, match="masks of 3 tokens; wanted num_tokens, 7"):
        losses_of(MaskLoss(num_classes=3, num_tokens=7, weights=ALL), [prediction()], torch.zeros(2, 4, 4).long())
