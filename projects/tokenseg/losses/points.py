"""Sampled points at which masks are compared instead of at all pixels, and the values of maps at these points.

Paper: Kirillov et al.: PointRend (CVPR 2020), section 3.1, "Non-uniform sampling", as used by Mask2Former (CVPR 2022,
section 3.3.2). Points are pairs (x, y) between -1 and 1, the outer edges of a map, so they apply to maps of any size.
Letters: M masks, P points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PointSampling:
    """The number of points per mask, and how they are chosen.

    Attributes:
        num_points: The number of points P per mask.
        oversampling: The number of uniform candidates for the uncertain points, as a multiple of P.
        uncertain: The share of the points that are chosen for their uncertainty; the others are drawn uniformly.
    """

    num_points: int = 12544
    oversampling: float = 3.0
    uncertain: float = 0.75

    def __post_init__(self) -> None:
        if self.num_points < 1 or not 0 <= self.uncertain <= 1 or self.oversampling < self.uncertain:
            raise ValueError(
                f"num_points is {self.num_points}, oversampling {self.oversampling}, uncertain {self.uncertain}; "
                "wanted 1 or more points, a share of 0 to 1, and no less oversampling than that"
            )

    @torch.no_grad()
    def near_borders(self, masks: Tensor, generator: torch.Generator) -> Tensor:
        """Draw points for each mask, most of them where the mask is least certain.

        Args:
            masks: The predicted masks (M, h, w) before the sigmoid.
            generator: The random number generator, on the device of the masks.

        Returns:
            The points (M, P, 2).
        """
        num_uncertain = int(self.uncertain * self.num_points)
        candidates = uniform_points((len(masks), int(self.oversampling * self.num_points)), generator)
        least = at_points(masks, candidates).abs_().topk(num_uncertain, dim=1, largest=False, sorted=False).indices
        # As a complex number a point is gathered in one piece, without an index for each coordinate.
        chosen = torch.view_as_complex(candidates).gather(1, least)
        return torch.cat(
            [
                torch.view_as_real(chosen),
                uniform_points((len(masks), self.num_points - num_uncertain), generator),
            ],
            dim=1,
        )


def uniform_points(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw points uniformly from the whole map.

    Args:
        shape: The shape of the batch of points.
        generator: The random number generator, on the device of the result.

    Returns:
        The points (*shape, 2).
    """
    return torch.rand(*shape, 2, generator=generator, device=generator.device).mul_(2).sub_(1)


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Sample each map bilinearly at its own points; beyond the edges maps are zero.

    Args:
        maps: The maps (M, h, w).
        points: The points (M, P, 2).

    Returns:
        The values (M, P).
    """
    return F.grid_sample(maps[:, None], points[:, :, None].to(maps.dtype), align_corners=False)[:, 0, :, 0]


def at_shared_points(maps: Tensor, points: Tensor, *, beyond: str = "zeros") -> Tensor:
    """Sample all maps bilinearly at the same points.

    Args:
        maps: The maps (M, h, w).
        points: The points (..., 2).
        beyond: The values beyond the edges: `zeros`, or `border` to repeat the values at the edge.

    Returns:
        The values (M, ...).
    """
    grid = points.flatten(0, -2)[None, :, None].to(maps.dtype)
    shown = F.grid_sample(maps[None], grid, padding_mode=beyond, align_corners=False)
    return shown[0, :, :, 0].unflatten(1, points.shape[:-1])
