import math

import pytest
import torch

from tokenseg.alarms.measures import (
    attention_entropy,
    dead_tokens,
    mean_cosine,
    region_masses,
    variance_shares,
)


def grid(rows):
    """Tokens (N, Q, 1) from a row of numbers for each image."""
    return torch.tensor(rows, dtype=torch.float)[..., None]


def test_variance_shares_by_hand():
    # The mean is 3, those of the images are 2 and 4, those of the tokens 1.5 and 4.5; the rest is +-0.5 everywhere.
    shares = variance_shares(grid([[1, 3], [2, 6]]))
    assert shares == pytest.approx({"image": 1 / 3.5, "token": 2.25 / 3.5, "image_x_token": 0.25 / 3.5})


@pytest.mark.parametrize(
    ("rows", "name"),
    [([[1, 5], [1, 5]], "token"), ([[1, 1], [4, 4]], "image"), ([[1, -1], [-1, 1]], "image_x_token")],
)
def test_variance_of_one_kind_alone(rows, name):
    assert variance_shares(grid(rows))[name] == pytest.approx(1)


def test_variance_shares_of_a_constant():
    assert set(variance_shares(torch.full((2, 3, 4), 5.0)).values()) == {0.0}


def test_mean_cosine_by_hand():
    # The cosines are 0, 1/sqrt 2 and 1/sqrt 2 in the first image, and 1 for all pairs of the second.
    first = torch.tensor([[1.0, 0], [0, 2], [3, 3]])
    assert mean_cosine(torch.stack([first, torch.ones(3, 2)])) == pytest.approx((2**0.5 / 3 + 1) / 2)
    assert mean_cosine(torch.ones(2, 1, 4)) == 0


def test_dead_tokens_by_hand():
    """The first token is zero, the second is equal in both images, the third differs by a twentieth of its length."""
    tokens = torch.tensor([[[0.0, 0], [2, 1], [10, 0]], [[0, 0], [2, 1], [11, 0]]])
    assert dead_tokens(tokens) == pytest.approx(2 / 3)


def test_region_masses_by_hand():
    weights = torch.zeros(2, 2, 3, 3)
    weights[:, 0] = 0.5
    weights[1, 1, 0, 0] = 0.9
    assert region_masses(weights) == pytest.approx({"mass": (9 + 0.9) / 36, "dead_regions": 0.5})


def test_attention_entropy_by_hand():
    weights = torch.tensor([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])[None, None]
    assert attention_entropy(weights) == pytest.approx((0 + 1 + 0.5) / 3)
    # With two allowed positions, equal halves are the maximum; a token with one allowed position is not counted.
    allowed = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)[None]
    assert attention_entropy(weights, allowed) == pytest.approx(1)
    assert attention_entropy(weights[:, :, :1], allowed[:, :1]) == 0
    assert math.isclose(attention_entropy(torch.full((1, 2, 3, 50), 0.02)), 1, rel_tol=1e-6)
