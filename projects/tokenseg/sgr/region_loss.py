"""Supervision of the concept regions by the connected components of the label map.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 3.3. The union of
all regions matched to a component is to be the component, and they are to share it out. Letters as in `matching.py`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Counts, Targets
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from ..losses.counts import divide
from ..losses.mask import dice, focal_terms
from .matching import match, matching_costs
from .readings import read_sgr

# Under the smallest of a region's odds that matter; above what single precision takes for 0.
_TINY = 1e-30
_UNIONS = ("noisy_or", "sum_clamped")


class RegionLoss(nn.Module):
    """Focal and dice loss of unions against components, and likeness of regions of one component (Eq. 6)."""

    def __init__(
        self,
        *,
        regions: str,
        num_active: int = 64,
        stride: int = 8,
        weight: float = 2.0,
        dice_weight: float = 0.05,
        cosine_weight: float = 0.25,
        union: str | None = None,
        prefix: str = "region_",
        reading: str = "ours",
    ) -> None:
        """
        Args:
            regions: Name of the regions among the features, `res5_regions`.
            num_active: L, regions of an image that learn.
            stride: Pixels along a side of a cell of the components; regions on another map are resized to theirs.
            weight: Beta, of all terms (ours: 2, the best of 1, 2, 4 and 8 on ShapeScenes).
            dice_weight: Rho, of dice beside focal, in costs and losses (ours: 0.05, since focal is far smaller).
            cosine_weight: Gamma (ours: 0.25, the best of 0.1, 0.25 and 1 there); 0 leaves the term out.
            union: `noisy_or`, one minus the product of what is left of each cell (ours: it has gradients wherever a
                region has); or `sum_clamped`, the printed sum, at most 1; by default as the reading has it.
            prefix: What follows `loss_` in the names of the losses; every component of a model needs another one.
            reading: A key of `READINGS`.

        Raises:
            ValueError: An unknown union or reading, or fewer than 2 active regions.
        """
        super().__init__()
        if union is None:
            union = read_sgr(reading).union
        if union not in _UNIONS:
            raise ValueError(f"union is '{union}'; wanted one of {', '.join(_UNIONS)}")
        if num_active < 2:
            raise ValueError(f"num_active is {num_active}; wanted 2 or more")
        self.regions, self.num_active, self.stride, self.union = regions, num_active, stride, union
        self.weight, self.dice_weight, self.cosine_weight, self.prefix = weight, dice_weight, cosine_weight, prefix

    def count(self, targets: Targets) -> Counts:
        """`components`, and `images` that have any.

        Raises:
            ValueError: Inputs without components.
        """
        _check_presence(targets.inputs)
        numbers = [len(x["components"]) - 1 for x in targets.inputs]
        both = targets.labels.new_tensor([sum(numbers), sum(number > 0 for number in numbers)])
        return {"components": both[0], "images": both[1]}

    def forward(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            features: `regions` of them is (N, K, h, w), before the sigmoid.
            targets: Labels (N, H, W), of which only the size counts, that of the padded batch; and inputs, each with
                `components` as `ConnectedComponents` makes them of its labels.

        Returns:
            `loss_region_focal`, `loss_region_dice`, `loss_region_cosine`, weighted; zero, with gradients, where no
            image has a component.

        Raises:
            ValueError: Inputs without components, with components of another stride, or with more of them than L - 1;
                or fewer regions than L.
        """
        logits, batch_size = features[self.regions], targets.labels.shape[-2:]
        self._check(logits, targets.inputs, batch_size)
        with torch.autocast(logits.device.type, enabled=False):
            numbers = [len(x["components"]) - 1 for x in targets.inputs]
            size = [-(-side // self.stride) for side in batch_size]
            logits = resize(at_least_single(logits), size).flatten(2)
            valid, components = _stack(targets.inputs, max(numbers), size, logits)
            valid, components = valid.flatten(1), components.flatten(2)
            active, owners = self._match(logits, components, valid, numbers)
            chosen = logits.gather(1, active[..., None].expand(-1, -1, logits.shape[-1]))
            # (N, M, L): which region belongs to which component; owners of -1 belong to none
            belongs = owners[:, None] == torch.arange(components.shape[1], device=owners.device)[:, None]
            terms = self._union_terms(chosen, belongs.to(logits.dtype), components, valid, targets.counts["components"])
            if self.cosine_weight:
                likeness = divide(_likeness(chosen, owners, valid), targets.counts["images"])
                terms["cosine"] = self.cosine_weight * likeness
        return {f"loss_{self.prefix}{name}": self.weight * value for name, value in terms.items()}

    def _check(self, logits: Tensor, inputs: Sequence[Mapping[str, Tensor]], batch_size: torch.Size) -> None:
        _check_presence(inputs)
        for x in inputs:
            label, cells = tuple(x["sem_seg"].shape if "sem_seg" in x else batch_size), tuple(x["components"].shape[1:])
            wanted = tuple(-(-side // self.stride) for side in label)
            # without its label an image may be smaller than its batch
            if cells != wanted and ("sem_seg" in x or any(one > most for one, most in zip(cells, wanted, strict=True))):
                raise ValueError(
                    f"components have {cells} cells for labels of {label} pixels; wanted {wanted}, by the loss's "
                    f"stride of {self.stride} pixels"
                )
        if logits.shape[1] < self.num_active:
            raise ValueError(f"there are {logits.shape[1]} regions; wanted num_active, {self.num_active}, or more")
        most = max(len(x["components"]) - 1 for x in inputs)
        if most >= self.num_active:
            raise ValueError(f"an image has {most} components; wanted fewer than num_active, {self.num_active}")

    def _match(self, logits: Tensor, components: Tensor, valid: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
        """Active regions and their components, (N, L) each; components of -1 where an image has none."""
        active = np.zeros((len(counts), self.num_active), dtype=np.int64)
        owners = np.full_like(active, -1)
        if any(counts):
            costs = matching_costs(logits, components, valid, dice_weight=self.dice_weight).cpu().numpy()
            for place, (cost, count) in enumerate(zip(costs, counts, strict=True)):
                if count:
                    active[place], owners[place] = match(cost[:count], self.num_active)
        both = torch.from_numpy(np.stack([active, owners])).to(logits.device, non_blocking=True)
        return both[0], both[1]

    def _union_terms(
        self, chosen: Tensor, belongs: Tensor, components: Tensor, valid: Tensor, count: Tensor
    ) -> dict[str, Tensor]:
        """Focal and dice, summed over components, divided by their number in the step.

        Args:
            chosen: (N, L, P) before the sigmoid.
            belongs: (N, M, L), 1 where a region belongs to a component.
            components: (N, M, P).
            valid: (N, P).
            count: Components of the step.
        """
        union = union_logits(chosen, belongs, self.union)
        exists = belongs.any(dim=2)  # what no region belongs to is padding
        valid = valid[:, None]
        inside, outside = focal_terms(union)
        focal = (components * inside + (valid - components) * outside).sum(dim=2) / valid.sum(dim=2).clamp(min=1e-6)
        probabilities = union.sigmoid()
        overlap, mass = (probabilities * components).sum(dim=2), (probabilities * valid).sum(dim=2)
        each = dice(overlap, mass + components.sum(dim=2))
        return {
            "focal": divide((focal * exists).sum(), count),
            "dice": self.dice_weight * divide((each * exists).sum(), count),
        }


def _check_presence(inputs: Sequence[Mapping[str, Tensor]]) -> None:
    if any("components" not in x for x in inputs):
        raise ValueError(
            "the regions' loss wants `components` with every image; give the training mapper "
            "label_targets.components, or leave the loss out"
        )


def union_logits(regions: Tensor, belongs: Tensor, union: str = "noisy_or") -> Tensor:
    """The union of the regions of each component, before the sigmoid.

    Args:
        regions: (N, L, P) before the sigmoid.
        belongs: (N, M, L), 1 where a region belongs to a component.
        union: The argument `union` of `RegionLoss`.

    Returns:
        (N, M, P).
    """
    if union == "sum_clamped":
        return torch.logit((belongs @ regions.sigmoid()).clamp(1e-6, 1 - 1e-6))
    # s = -log(1 - u) is a sum; the logit of u is log(exp(s) - 1), here so that neither end overflows
    s = (belongs @ F.softplus(regions)).clamp(min=_TINY)
    return s + torch.log(-torch.expm1(-s))


def _stack(
    inputs: Sequence[Mapping[str, Tensor]], most: int, size: Sequence[int], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Valid shares (N, h, w) and components (N, M, h, w), padded with zeros to a size, of device and type as `like`."""
    maps = [x["components"].to(like, non_blocking=True) for x in inputs]
    batch = like.new_zeros(len(maps), 1 + max(most, 1), *size)
    for one, x in zip(batch, maps, strict=True):
        one[: len(x), : x.shape[1], : x.shape[2]] = x
    return batch[:, 0], batch[:, 1:]


def _likeness(chosen: Tensor, owners: Tensor, valid: Tensor) -> Tensor:
    """Mean cosine similarity of an image's pairs of regions of one component, summed over images.

    Every image with components has such a pair, since more regions are active than there are components. The mean of
    each image, unlike one over all pairs of a batch, whose number depends on predictions, is the same however a batch
    is cut into parts.

    Args:
        chosen: (N, L, P) before the sigmoid.
        owners: (N, L) components, -1 for none.
        valid: (N, P).
    """
    maps = F.normalize(chosen.sigmoid() * valid[:, None], dim=2, eps=1e-6)
    pairs = (owners[:, :, None] == owners[:, None]) & (owners[:, :, None] >= 0)
    pairs = pairs.to(maps.dtype).triu(diagonal=1)
    return divide(((maps @ maps.mT) * pairs).sum(dim=(1, 2)), pairs.sum(dim=(1, 2))).sum()
