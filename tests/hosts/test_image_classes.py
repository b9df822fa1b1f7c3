"""The loss that predicts which classes an image contains, and how many pieces of each."""

import math

import pytest
import torch

from tokenseg.contracts import ExtraLoss, Targets
from tokenseg.hosts.image_classes import ImageClassesLoss

LABELS = torch.zeros(2, 4, 4, dtype=torch.long)
INPUTS = [{"class_counts": torch.tensor([2.0, 0.0, 1.0])}, {"class_counts": torch.tensor([0.0, 0.0, 0.0])}]


@pytest.fixture
def loss():
    loss = ImageClassesLoss(in_feature="x", channels=4, num_classes=3, weight=2.0)
    torch.nn.init.zeros_(loss.classify.weight)
    torch.nn.init.zeros_(loss.classify.bias)
    return loss


def test_values_by_hand(loss):
    """With logits of 0, presence costs log 2, and n pieces cost the smooth L1 norm of x = log(1 + n).

    This is x - 1/2 if x is above 1, and x^2 / 2 otherwise.
    """
    assert isinstance(loss, ExtraLoss)
    found = loss({"x": torch.randn(2, 4, 3, 3)}, Targets.alone(loss, LABELS, INPUTS))
    pieces = (math.log(3) - 0.5 + 0.5 * math.log(2) ** 2) / 3
    assert found["loss_presence"].item() == pytest.approx(2 * math.log(2))
    assert found["loss_pieces"].item() == pytest.approx(2 * pieces / 2)


def test_parts_of_a_batch_add_up(loss):
    torch.nn.init.normal_(loss.classify.weight)
    x, targets = torch.randn(2, 4, 3, 3), Targets.alone(loss, LABELS, INPUTS)
    parts = [loss({"x": x[i : i + 1]}, Targets(LABELS[i : i + 1], INPUTS[i : i + 1], targets.counts)) for i in (0, 1)]
    for name, whole in loss({"x": x}, targets).items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], whole)


def test_missing_numbers_are_named(loss):
    with pytest.raises(ValueError, match=r"`class_counts`.*label_targets\.class_counts"):
        loss.count(Targets(LABELS, [{}, {}]))
