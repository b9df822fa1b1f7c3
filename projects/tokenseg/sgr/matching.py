"""Two-stage matching of concept regions to connected components; every component gets at least one region.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 3.3, Eq. 5 and
Fig. 3. K counts concept regions, L those that are active, M components, P cells.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..losses.mask import dice, focal_terms


@torch.no_grad()
def matching_costs(regions: Tensor, components: Tensor, valid: Tensor, *, dice_weight: float) -> Tensor:
    """Compute focal plus weighted dice loss between every component and every region (Eq. 5), as a matrix product.

    Args:
        regions: The regions (N, K, P) before the sigmoid, in single precision.
        components: The share of each cell that each component covers, (N, M, P).
        valid: The valid share of each cell, (N, P), at least that of its components.
        dice_weight: The weight rho of the dice loss.

    Returns:
        The costs (N, M, K).
    """
    with torch.autocast(regions.device.type, enabled=False):
        inside, outside = focal_terms(regions)
        probabilities = regions.sigmoid()
        by_focal, overlap = (components @ torch.cat([inside - outside, probabilities], dim=1).mT).chunk(2, dim=2)
        masses = torch.cat([outside, probabilities], dim=1) @ valid[..., None]
        all_outside, masses = masses.mT.chunk(2, dim=2)
        focal = (by_focal + all_outside) / valid.sum(dim=1).clamp(min=1e-6)[:, None, None]
        return focal + dice_weight * dice(overlap, masses + components.sum(dim=2, keepdim=True))


def match(costs: np.ndarray, num_active: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the active regions of an image and the component of each.

    First every component gets one region such that the total cost is minimal. The remaining regions are then added in
    the order of their lowest cost, each with its cheapest component, until L regions are active.

    Args:
        costs: (M, K), M < L <= K; not necessarily finite.
        num_active: The number of active regions L.

    Returns:
        The active regions and their components, (L,) each; empty if M is 0.
    """
    if not len(costs):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    # The solver would fail on a cost that is not finite, with an error that does not mention the diverged loss.
    costs = np.nan_to_num(costs)
    components, regions = linear_sum_assignment(costs)
    left = np.setdiff1d(np.arange(costs.shape[1]), regions)
    # Each remaining region is assigned by its lowest cost.
    cheapest = np.argsort(costs[:, left].min(axis=0), kind="stable")[: num_active - len(costs)]
    left = left[cheapest]
    return np.concatenate([regions, left]), np.concatenate([components, costs[:, left].argmin(axis=0)])
