"""Mask2Former's loss against that of `transformers`, at the same points, on labels without ignored pixels."""

import pytest
import torch

from tokenseg.contracts import Targets
from tokenseg.layers.embedded_masks import EmbeddedMasks
from tokenseg.losses.point_mask import PointMaskLoss
from tokenseg.losses.points import PointSampling

pytestmark = pytest.mark.slow

WEIGHTS = dict(cross_entropy=5.0, dice=5.0, **{"class": 2.0})
THEIR_NAMES = dict(loss_cross_entropy="loss_mask", loss_dice="loss_dice", loss_class="loss_cross_entropy")


@pytest.fixture
def fixed_points(monkeypatch):
    """All draws give the same points."""
    points = torch.rand(2000, 2)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: points[: shape[-2]].expand(shape).clone())


@pytest.mark.parametrize("num_queries", [9, 3])
def test_values_and_gradients(transformers, fixed_points, num_queries):
    config = transformers.Mask2FormerConfig(train_num_points=300)
    config.num_labels = 6
    module = transformers.models.mask2former.modeling_mask2former
    theirs = module.Mask2FormerLoss(config, weight_dict={})
    ours = PointMaskLoss(
        num_classes=6, num_queries=num_queries, weights=WEIGHTS, sampling=PointSampling(num_points=300)
    )
    labels = torch.randint(0, 4, (2, 6, 7)).repeat_interleave(9, 1).repeat_interleave(8, 2)
    labels[1] = labels[1].clamp(max=1)
    leaves = [
        torch.randn(3, 2, num_queries, 8, requires_grad=True),
        torch.randn(2, 8, 14, 15, requires_grad=True),
        torch.randn(3, 2, num_queries, 7, requires_grad=True),
    ]
    embeddings, features, class_logits = leaves
    predictions = [EmbeddedMasks(each, features, logits) for each, logits in zip(embeddings, class_logits, strict=True)]
    got = ours(predictions, Targets.alone(ours, labels))
    classes = [each.unique() for each in labels]
    masks = [(each == own[:, None, None]).float() for each, own in zip(labels, classes, strict=True)]
    found = [theirs(each.masks, each.class_logits, masks, classes) for each in predictions]
    # theirs divides by all masks of the labels, ours by those that a query is there for
    learnt = sum(min(len(own), num_queries) for own in classes) / sum(map(len, classes))
    for name, weight in WEIGHTS.items():
        factor = weight if name == "class" else weight / learnt
        wanted = factor * sum(each[THEIR_NAMES[f"loss_{name}"]] for each in found)
        torch.testing.assert_close(got[f"loss_{name}"], wanted, rtol=1e-4, atol=0)
        gradients = [
            torch.autograd.grad(x, leaves, retain_graph=True, allow_unused=True) for x in (got[f"loss_{name}"], wanted)
        ]
        for ours_, theirs_ in zip(*gradients, strict=True):
            if theirs_ is not None:
                torch.testing.assert_close(ours_, theirs_, rtol=1e-4, atol=1e-6)
