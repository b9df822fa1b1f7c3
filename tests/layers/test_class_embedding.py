"""Extraction and update of class embeddings, by hand and against plain renderings of Eqs. 5, 9 and 10."""

import math

import pytest
import torch
from torch.nn import functional as F

from tokenseg.layers.class_embedding import (
    ExplicitClassExtraction,
    GatedClassUpdater,
    PlusClassUpdater,
    largest_grid,
)


@pytest.mark.parametrize(
    ("num_classes", "alpha", "side"),
    [(150, 1, 13), (59, math.sqrt(2), 11), (19, 3, 13), (171, 1, 13), (2, 1, 1), (2, 0.5, 1), (4, 1, 3)],
)
def test_the_finest_grid_is_odd(num_classes, alpha, side):
    assert largest_grid(num_classes, alpha) == side
    assert ExplicitClassExtraction(num_classes=num_classes, width=1, alpha=alpha).grids == (1, 2, 3, 6, side)


def test_alpha_is_positive():
    with pytest.raises(ValueError, match="alpha is 0"):
        ExplicitClassExtraction(num_classes=3, width=2, alpha=0)


def pooled(masks, num_classes, alpha=1.0):
    """What the linear layer sees: (N, K, 50 + L * L)."""
    extraction = ExplicitClassExtraction(num_classes=num_classes, width=1, alpha=alpha)
    extraction.project = torch.nn.Identity()
    return extraction(masks)


def test_pooled_numbers_by_hand():
    # Six rows of 1 to 6: halves mean 2 and 5, thirds 1.5, 3.5, 5.5, sixths themselves; L = 1 pools all once more.
    masks = torch.arange(1.0, 7).view(1, 1, 6, 1).expand(1, 2, 6, 6)
    whole, halves, thirds, sixths, finest = pooled(masks, num_classes=2)[0, 1].split([1, 4, 9, 36, 1])
    assert whole.tolist() == finest.tolist() == [3.5]
    assert halves.tolist() == [2, 2, 5, 5]
    assert thirds.tolist() == [1.5] * 3 + [3.5] * 3 + [5.5] * 3
    assert sixths.view(6, 6)[:, 4].tolist() == [1, 2, 3, 4, 5, 6]


def test_grids_finer_than_the_mask_repeat_its_values():
    masks = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    sixths = pooled(masks, num_classes=1)[0, 0, 14:50].view(6, 6)
    assert sixths[0].tolist() == [1, 1, 1, 2, 2, 2] and sixths[:, 0].tolist() == [1, 1, 1, 3, 3, 3]
    # Seven cells over two rows: the middle one touches both.
    finest = pooled(masks, num_classes=1, alpha=7)[0, 0, 50:].view(7, 7)
    assert finest[:, 0].tolist() == [1, 1, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("num_classes", [2, 171])
@pytest.mark.parametrize("size", [(1, 1), (3, 17)])
def test_any_size_and_class_count(num_classes, size):
    embeddings = ExplicitClassExtraction(num_classes=num_classes, width=5)(torch.randn(2, num_classes, *size))
    assert embeddings.shape == (2, num_classes, 5)


def test_gated_update_follows_the_equations():
    updater = GatedClassUpdater(width=6)
    new, old = torch.randn(2, 3, 6), torch.randn(2, 3, 6)
    weight, bias = updater.project_new.weight, updater.project_new.bias
    fused = F.linear(new, weight[:6], bias[:6]) * updater.project_old(old)
    gate = torch.sigmoid(F.layer_norm(updater.gate(fused), (6,)))
    wanted = gate * F.layer_norm(F.linear(new, weight[6:], bias[6:]), (6,)) + old
    wanted = F.relu(F.layer_norm(updater.out(wanted), (6,)))
    torch.testing.assert_close(updater(new, old), wanted)


def test_plus_adds():
    assert PlusClassUpdater()(torch.ones(1, 2, 3), torch.full((1, 2, 3), 2.0)).eq(3).all()
