"""Points at which masks are compared instead of at all pixels: where they lie, and what maps show there.

Paper: Kirillov et al.: PointRend (CVPR 2020), section 3.1, "Non-uniform sampling", as Mask2Former takes it (CVPR 2022,
section 3.3.2). Points are (x, y) from -1 to 1, the outer edges of a map, so that they fit maps of any size. Letters: M
masks, P points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PointSampling:
    """How many points there are for a mask, and how they are chosen.

    Attributes:
        num_points: The number of points P of a mask.
        oversampling: How many uniform points the uncertain ones are chosen from, as a multiple of P.
        uncertain: The share of the points that are chosen for their uncertainty; the others are uniform.
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
        """Points for each mask, most of them where it is least certain.

        Args:
            masks: (M, h, w) before the sigmoid.
            generator: The source of random numbers, on the masks' device.

        Returns:
            (M, P, 2).
        """
        num_uncertain = int(self.uncertain * self.num_points)
        candidates = uniform_points((len(masks), int(self.oversampling * self.num_points)), generator)
        least = at_points(masks, candidates).abs_().topk(num_uncertain, dim=1, largest=False, sorted=False).indices
        # Both numbers of a point as one, which is gathered in one piece.
        chosen = torch.view_as_complex(candidates).gather(1, least)
        return torch.cat(
            [
                torch.view_as_real(chosen),
                uniform_points((len(masks), self.num_points - num_uncertain), generator),
            ],
            dim=1,
        )


def uniform_points(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Points drawn alike from everywhere.

    Args:
        shape: How many.
        generator: The source of random numbers, on the device of the result.

    Returns:
        (*shape, 2).
    """
    return torch.rand(*shape, 2, generator=generator, device=generator.device).mul_(2).sub_(1)


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """What maps show at points of their own, bilinearly; beyond the edges there are zeros.

    Args:
        maps: (M, h, w).
        points: (M, P, 2).

    Returns:
        (M, P).
    """
    return F.grid_sample(maps[:, None], points[:, :, None].to(maps.dtype), align_corners=False)[:, 0, :, 0]


def at_shared_points(maps: Tensor, points: Tensor, *, beyond: str = "zeros") -> Tensor:
    """What maps show at points that all of them share, bilinearly.

    Args:
        maps: (M, h, w).
        points: (..., 2).
        beyond: What lies beyond the edges: `zeros`, or what the `border` shows.

    Returns:
        (M, ...).
    """
    grid = points.flatten(0, -2)[None, :, None].to(maps.dtype)
    shown = F.grid_sample(maps[None], grid, padding_mode=beyond, align_corners=False)
    return shown[0, :, :, 0].unflatten(1, points.shape[:-1])
