import pytest
import torch

from tokenseg.losses.points import PointSampling, at_points, at_shared_points, uniform_points


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_points_are_read_bilinearly_and_zero_outside():
    maps = torch.tensor([[[0.0, 1], [2, 3]]])
    points = torch.tensor([[[-0.5, -0.5], [0.5, 0.5], [0, 0], [-1, -0.5]]])  # centres of cells, the middle, the edge
    torch.testing.assert_close(at_points(maps, points), torch.tensor([[0, 3, 1.5, 0]]))
    both = torch.cat([maps, maps + 4])
    wanted = torch.cat([at_points(each[None], points) for each in both])
    torch.testing.assert_close(at_shared_points(both, points[0]), wanted)


def test_uncertain_points_lie_near_the_border():
    masks = torch.linspace(-4, 4, 16).expand(2, 16, 16)  # the border is the middle column
    sampling = PointSampling(num_points=200, oversampling=3.0, uncertain=0.75)
    points = sampling.near_borders(masks, generator())
    assert points.shape == (2, 200, 2) and points.abs().max() <= 1
    assert points[:, :150, 0].abs().max() < 0.5 and points[:, 150:, 0].abs().max() > 0.8


@pytest.mark.parametrize("uncertain", [0.0, 1.0])
def test_all_or_none_may_be_uncertain(uncertain):
    points = PointSampling(num_points=7, uncertain=uncertain).near_borders(torch.randn(3, 4, 5), generator())
    assert points.shape == (3, 7, 2)


def test_the_seed_alone_decides():
    first, second = (uniform_points((3, 5), generator(7)) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, uniform_points((3, 5), generator(8)))


def test_bad_numbers():
    with pytest.raises(ValueError, match="wanted 1 or more points"):
        PointSampling(num_points=0)
    with pytest.raises(ValueError, match=r"uncertain 1\.5"):
        PointSampling(uncertain=1.5)
