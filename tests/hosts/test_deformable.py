"""Deformable attention: both implementations of sampling, the initial weights, and points outside the maps."""

import math

import pytest
import torch

from tokenseg.hosts.deformable import DeformableAttention
from tokenseg.hosts.deformable_sampling import LevelLayout, centres_on_levels, sample_by_embedding_bag, sample_by_grid

SIZES = [(2, 2), (3, 5), (7, 4)]
LENGTH = sum(height * width for height, width in SIZES)


def layout_of(sizes, num_points):
    return LevelLayout.of(sizes, num_points=num_points, device=torch.device("cpu"))


def arguments(scale, count=2, heads=2, depth=5, points=3):
    values, weights = torch.randn(count, LENGTH, heads, depth), torch.rand(count, LENGTH, heads, points * len(SIZES))
    offsets = scale * torch.randn(count, LENGTH, 2, heads, points * len(SIZES))
    return [x.requires_grad_() for x in (values, offsets, weights)]


@pytest.mark.parametrize("scale", [0.3, 3.0, 1e4])
def test_both_ways_are_equal_with_their_gradients(scale):
    leaves = arguments(scale)
    outputs = [sample(*leaves, layout_of(SIZES, 3)) for sample in (sample_by_embedding_bag, sample_by_grid)]
    torch.testing.assert_close(*outputs)
    wanted = torch.randn_like(outputs[0])
    for ours, theirs in zip(*(torch.autograd.grad(x, leaves, wanted) for x in outputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sample", [sample_by_embedding_bag, sample_by_grid])
def test_whole_offsets_read_single_cells(sample):
    """With one level and offsets of one cell to the right, each cell reads the next one, and the last column zero."""
    values = torch.arange(1.0, 7).view(1, 6, 1, 1)
    offsets = torch.tensor([1.0, 0]).view(1, 1, 2, 1, 1).expand(1, 6, 2, 1, 1)
    got = sample(values, offsets, torch.ones(1, 6, 1, 1), layout_of([(2, 3)], 1))
    torch.testing.assert_close(got.flatten(), torch.tensor([2.0, 3, 0, 5, 6, 0]))


@pytest.mark.parametrize("sampling", ["embedding_bag", "grid_sample"])
def test_what_is_not_finite_shows_in_the_output(sampling):
    attention, cells = (
        DeformableAttention(width=16, num_levels=len(SIZES), sampling=sampling),
        torch.randn(1, LENGTH, 16),
    )
    cells[0, 3] = float("nan")
    output = attention(cells.requires_grad_(), cells, layout_of(SIZES, 4))
    output.sum().backward()
    assert output[0, 3].isnan().all() and cells.grad[0, 3].isnan().any()


def test_centres_lie_in_the_middle_of_other_levels_cells():
    centres = centres_on_levels([(1, 2), (2, 4)], torch.device("cpu"))
    assert centres.shape == (10, 2, 2)
    torch.testing.assert_close(centres[:2], torch.tensor([[[0.0, 0], [0.5, 0.5]], [[1.0, 0], [2.5, 0.5]]]))
    torch.testing.assert_close(centres[2], torch.tensor([[-0.25, -0.25], [0.0, 0]]))


def test_points_of_a_head_begin_on_a_ray():
    attention = DeformableAttention(width=16, num_heads=8, num_levels=3, num_points=4)
    offsets = attention.offsets.bias.view(8, 3, 4, 2)
    torch.testing.assert_close(offsets[0, 0], torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    torch.testing.assert_close(
        offsets[1, 2, 2], torch.tensor([3.0, 3.0])
    )  # 45 degrees, with steps of 1 along the longer side
    assert not attention.offsets.weight.any() and not attention.weights.weight.any()
    bound = math.sqrt(6 / 32)
    assert 0.9 * bound < attention.value.weight.abs().max() <= bound and not attention.value.bias.any()


def test_bad_arguments():
    with pytest.raises(ValueError, match="divisor of the width, 16"):
        DeformableAttention(width=16, num_heads=3)
    with pytest.raises(ValueError, match="wanted one of embedding_bag, grid_sample"):
        DeformableAttention(width=16, sampling="nearest")
