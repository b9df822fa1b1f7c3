"""Comparison of the mask classifiers' losses with those of `transformers`, on labels without ignored pixels."""

import pytest
import torch

from tokenseg.contracts import Targets
from tokenseg.layers.embedded_masks import EmbeddedMasks
from tokenseg.losses.hungarian import HungarianAssigner
from tokenseg.losses.mask import MaskLoss
from tokenseg.losses.point_mask import PointMaskLoss
from tokenseg.losses.points import PointSampling

pytestmark = pytest.mark.slow("losses of mask classifiers beside those of transformers")


def make_leaves(num_queries):
    """Draw embeddings of three stages, mask features and class logits; return them and the predictions made of them."""
    embeddings = torch.randn(3, 2, num_queries, 8, requires_grad=True)
    features = torch.randn(2, 8, 14, 15, requires_grad=True)
    class_logits = torch.randn(3, 2, num_queries, 7, requires_grad=True)
    stages = zip(embeddings, class_logits, strict=True)
    return (embeddings, features, class_logits), [EmbeddedMasks(each, features, logits) for each, logits in stages]


def make_labels():
    """Draw label maps of 54 x 56 pixels; return them, and the classes of each image with their masks."""
    labels = torch.randint(0, 4, (2, 6, 7)).repeat_interleave(9, 1).repeat_interleave(8, 2)
    labels[1] = labels[1].clamp(max=1)
    classes = [each.unique() for each in labels]
    return labels, classes, [(a == b[:, None, None]).float() for a, b in zip(labels, classes, strict=True)]


def assert_equal_with_gradients(got, wanted, leaves):
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=0)
    gradients = [torch.autograd.grad(x, leaves, retain_graph=True, allow_unused=True) for x in (got, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        zeros = theirs is None and (ours is None or not ours.any())
        assert zeros or torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("num_queries", [9, 3])
def test_mask2former(transformers, monkeypatch, num_queries):
    points = torch.rand(2000, 2)  # every draw returns these points, so that both sides use the same
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: points[: shape[-2]].expand(shape).clone())
    config = transformers.Mask2FormerConfig(train_num_points=300)
    config.num_labels = 6
    theirs = transformers.models.mask2former.modeling_mask2former.Mask2FormerLoss(config, weight_dict={})
    weights = {"cross_entropy": 5.0, "dice": 5.0, "class": 2.0}
    ours = PointMaskLoss(
        num_classes=6, num_queries=num_queries, weights=weights, sampling=PointSampling(num_points=300)
    )
    (leaves, predictions), (labels, classes, masks) = make_leaves(num_queries), make_labels()
    got = ours(predictions, Targets.alone(ours, labels))
    found = [theirs(each.masks, each.class_logits, masks, classes) for each in predictions]
    # Theirs divides by the number of all masks in the labels, and ours by that of the masks with a query.
    learnt = sum(min(len(own), num_queries) for own in classes) / sum(map(len, classes))
    names = {"cross_entropy": "loss_mask", "dice": "loss_dice", "class": "loss_cross_entropy"}
    for name, weight in weights.items():
        wanted = sum(each[names[name]] for each in found) * weight / (1 if name == "class" else learnt)
        assert_equal_with_gradients(got[f"loss_{name}"], wanted, leaves)


def test_mask_former(transformers):
    module = transformers.models.maskformer.modeling_maskformer
    matcher = module.MaskFormerHungarianMatcher(cost_class=1.0, cost_dice=1.0, cost_mask=20.0)
    theirs = module.MaskFormerLoss(6, matcher=matcher, weight_dict={}, eos_coef=0.1)
    weights = {"focal": 20.0, "dice": 1.0, "class": 1.0}
    ours = MaskLoss(num_classes=6, num_tokens=9, weights=weights, assign=HungarianAssigner(weights=weights))
    (leaves, predictions), (labels, classes, masks) = make_leaves(9), make_labels()
    got = ours(predictions, Targets.alone(ours, labels))
    found = [theirs(each.masks, each.class_logits, masks, classes) for each in predictions]
    names = {"focal": "loss_mask", "dice": "loss_dice", "class": "loss_cross_entropy"}
    for name, weight in weights.items():
        wanted = weight * sum(each[names[name]] for each in found)
        assert_equal_with_gradients(got[f"loss_{name}"], wanted, leaves)
