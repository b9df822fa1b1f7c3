import pytest
import torch
from torch.nn import functional as F

from tokenseg.layers.adaptive_pool import AdaptiveAverage


@pytest.mark.parametrize("side", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(1, 4), (5, 7), (12, 6)])
def test_exported_averages_are_those_of_torch(side, size, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(AdaptiveAverage(side)(maps), F.adaptive_avg_pool2d(maps, side))
