"""Feature reconstruction (FR): splits a stage's map into intrinsic and diverse features, with a diversity loss.

Paper: Boosting Semantic Segmentation from the Perspective of Explicit Class Embeddings, "ECENet" (ICCV 2023), section
3.2. Letters: N images, C channels of the stage, H x W its map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.point_conv import PointConv2d
from ..layers.single_precision import at_least_single
from .readings import read


class SqueezeExcitation(nn.Module):
    """Scales every channel by a factor that is computed from the means of all channels."""

    def __init__(self, *, channels: int, sigmoid: bool) -> None:
        """
        Args:
            channels: The number of channels of the map.
            sigmoid: Whether the factor goes through a sigmoid, as the term implies, or is unbounded, as in the released
                model.
        """
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 2, bias=False)
        self.excite = nn.Linear(channels // 2, channels, bias=False)
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same, scaled."""
        factor = self.excite(self.squeeze(x.mean(dim=(2, 3))).relu())
        if self.sigmoid:
            factor = at_least_single(factor).sigmoid()
        return x * factor[:, :, None, None].to(x.dtype)


class FeatureReconstruction(nn.Module):
    """FR of one stage, Eqs. 1 and 2 and the projection after them."""

    def __init__(self, *, channels: int, se_sigmoid: bool = True) -> None:
        """
        Args:
            channels: The number of channels C.
            se_sigmoid: The argument `sigmoid` of `SqueezeExcitation`.

        Raises:
            ValueError: C is not a multiple of 4.
        """
        super().__init__()
        if channels % 4:
            raise ValueError(f"channels is {channels}; wanted a multiple of 4, since branches are halves and quarters")
        half = channels // 2
        self.intrinsic = nn.Sequential(PointConv2d(channels, half, bias=False), nn.BatchNorm2d(half))
        self.cheap = nn.Sequential(nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False), nn.BatchNorm2d(half))
        self.recalibrate = SqueezeExcitation(channels=half, sigmoid=se_sigmoid)
        self.project = PointConv2d(channels, channels, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: F_i (N, C, H, W).

        Returns:
            The reconstructed map (N, C, H, W), and the diverse features Y'' (N, C / 2, H, W), for the loss.
        """
        intrinsic = self.intrinsic(x)  # Y', Eq. 1
        diverse = self.recalibrate(self.cheap(intrinsic))  # Y'', Eq. 2
        return self.project(torch.cat([intrinsic, diverse], dim=1)), diverse


def feature_reconstructions(
    *, channels: Sequence[int], reading: str = "default", se_sigmoid: bool | None = None
) -> nn.ModuleList:
    """FR of every stage.

    Args:
        channels: The number of channels C of each stage.
        reading: A key of `READINGS`.
        se_sigmoid: See `SqueezeExcitation`; by default as the reading has it.

    Raises:
        ValueError: There is no reading of that name, or a number of channels is no multiple of 4.
    """
    sigmoid = read(reading).se_sigmoid if se_sigmoid is None else se_sigmoid
    return nn.ModuleList([FeatureReconstruction(channels=count, se_sigmoid=sigmoid) for count in channels])


def diversity_loss(diverse: Tensor) -> Tensor:
    """Measure how much the channels overlap, Eq. 3, summed over images.

    Each channel is normalised to a distribution over pixels. The loss of an image is 0 if no two channels share a
    pixel, and 1 - 1 / C if all are equal.

    Args:
        diverse: Y'' (N, C, H, W).
    """
    shares = at_least_single(diverse).flatten(2).softmax(dim=2)
    return (1 - shares.amax(dim=1).sum(dim=1) / diverse.shape[1]).sum()
