"""Extraction of class embeddings from masks, and their update.

Paper: Boosting Semantic Segmentation from the Perspective of Explicit Class Embeddings, "ECENet" (ICCV 2023), sections
3.3 and 3.4. SegViT can use both as an option (Table 7). Letters: N images, K classes, D channels of an embedding, H x W
the size of the masks.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .adaptive_pool import adaptive_average
from .single_precision import at_least_single

_GRIDS = (1, 2, 3, 6)


def largest_grid(num_classes: int, alpha: float) -> int:
    """Side L of the finest pooled grid, section 3.3: alpha * sqrt(K) rounded down, then up to an odd number."""
    side = int(alpha * math.sqrt(num_classes))
    return side if side % 2 else side + 1


class ExplicitClassExtraction(nn.Module):
    """Explicit class extraction (ECE), Eq. 5: pools each class's mask to several grids and projects them to a vector.

    Masks may have any size, since a grid finer than the mask repeats the mask's values.
    """

    def __init__(self, *, num_classes: int, width: int, alpha: float = 1.0) -> None:
        """
        Args:
            num_classes: The number of classes K, on which the size of the finest grid depends.
            width: The number of channels D.
            alpha: The ratio of the finest grid's side to sqrt(K).

        Raises:
            ValueError: `alpha` is not positive.
        """
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha is {alpha}; wanted a positive number")
        self.grids = (*_GRIDS, largest_grid(num_classes, alpha))
        self.project = nn.Linear(sum(side * side for side in self.grids), width)

    def forward(self, masks: Tensor) -> Tensor:
        """(N, K, H, W) masks, before any activation, to class embeddings (N, K, D)."""
        pooled = [adaptive_average(masks, side).flatten(2) for side in self.grids]
        return self.project(torch.cat(pooled, dim=2))


class GatedClassUpdater(nn.Module):
    """The gated update of class embeddings, Eqs. 9 and 10.

    The two linear maps of the new embeddings are one layer, as in the released model.
    """

    def __init__(self, *, width: int, last_update: bool = True) -> None:
        """
        Args:
            width: The number of channels D.
            last_update: Whether a final linear layer, norm and ReLU follow, as in the released model but not in the
                equations.
        """
        super().__init__()
        self.project_new = nn.Linear(width, 2 * width)
        self.project_old = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.gate_norm = nn.LayerNorm(width)
        self.value_norm = nn.LayerNorm(width)
        self.last_update = last_update
        if last_update:
            self.out = nn.Linear(width, width)
            self.out_norm = nn.LayerNorm(width)

    def forward(self, new: Tensor, old: Tensor) -> Tensor:
        """
        Args:
            new: The embeddings (N, K, D) extracted at this stage.
            old: The embeddings (N, K, D) of the previous stage.

        Returns:
            The updated embeddings (N, K, D).
        """
        factor, value = self.project_new(new).chunk(2, dim=-1)
        fused = factor * self.project_old(old)  # F_u, Eq. 9
        gate = at_least_single(self.gate_norm(self.gate(fused))).sigmoid()  # U, Eq. 10
        updated = gate * self.value_norm(value) + old
        return F.relu(self.out_norm(self.out(updated))) if self.last_update else updated


class PlusClassUpdater(nn.Module):
    """The plain update of Table 6, which adds the embeddings."""

    def forward(self, new: Tensor, old: Tensor) -> Tensor:
        """(N, K, D) new and old embeddings to the updated ones."""
        return new + old
