"""Supervision of the concept regions by the connected components of the label map.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 3.3. The union of
the regions matched to a component should equal the component, and these regions should differ from one another.
Letters as in `matching.py`.
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

# Smaller than any odds of a region that matter, but larger than what single precision rounds to 0.
_TINY = 1e-30
_UNIONS = ("noisy_or", "sum_clamped")


class RegionLoss(nn.Module):
    """Focal and dice loss between unions and components, and similarity of regions of one component (Eq. 6)."""

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
            regions: The name of the regions among the features, such as `res5_regions`.
            num_active: The number L of regions per image that are supervised.
            stride: The stride of the components in pixels; regions at another stride are resized to it.
            weight: The weight beta of all terms (ours: 2, the best of 1, 2, 4 and 8 on ShapeScenes).
            dice_weight: The weight rho of dice relative to focal, in costs and losses (ours: 0.05, since the focal
                loss is much smaller).
            cosine_weight: The weight gamma of the similarity (ours: 0.25, the best of 0.1, 0.25 and 1 on ShapeScenes);
                0 disables the term.
            union: `noisy_or`, one minus the product of the regions' complements (ours: every region gets gradients);
                or `sum_clamped`, the printed sum, at most 1. By default the reading decides.
            prefix: The text after `loss_` in the names of the losses, which must differ between components of a model.
            reading: A key of `READINGS`.

        Raises:
            ValueError: The union or reading is unknown, or there are fewer than 2 active regions.
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
        """Count the `components`, and the `images` that have any.

        Raises:
            ValueError: An input has no components.
        """
        _check_presence(targets.inputs)
        numbers = [len(x["components"]) - 1 for x in targets.inputs]
        both = targets.labels.new_tensor([sum(numbers), sum(number > 0 for number in numbers)])
        return {"components": both[0], "images": both[1]}

    def forward(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            features: The features, which include the regions (N, K, h, w) before the sigmoid.
            targets: The labels (N, H, W), which only give the size of the padded batch, and the inputs, each with
                `components` as created by `ConnectedComponents`.

        Returns:
            The weighted losses `loss_region_focal`, `loss_region_dice` and `loss_region_cosine`; zero, still with
            gradients, if no image has a component.

        Raises:
            ValueError: An input has no components, components of another stride, or more than L - 1 of them; or there
                are fewer than L regions.
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
            # (N, M, L) membership of regions in components; an owner of -1 means no component
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
        """Match active regions to components, (N, L) each; the component is -1 if an image has none."""
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
        """Compute focal and dice loss, summed over components and divided by the step's number of components.

        Args:
            chosen: The active regions (N, L, P) before the sigmoid.
            belongs: The membership (N, M, L), 1 if a region belongs to a component.
            components: The share of each cell that each component covers, (N, M, P).
            valid: The valid share of each cell, (N, P).
            count: The number of components in the step.
        """
        union = union_logits(chosen, belongs, self.union)
        exists = belongs.any(dim=2)  # a component without regions is padding
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
    """Compute the union of the regions of each component, before the sigmoid.

    Args:
        regions: (N, L, P) before the sigmoid.
        belongs: (N, M, L), 1 where a region belongs to a component.
        union: The argument `union` of `RegionLoss`.

    Returns:
        (N, M, P).
    """
    if union == "sum_clamped":
        return torch.logit((belongs @ regions.sigmoid()).clamp(1e-6, 1 - 1e-6))
    # s = -log(1 - u) is a sum over regions; the logit of u is log(exp(s) - 1), computed without overflow at either end.
    s = (belongs @ F.softplus(regions)).clamp(min=_TINY)
    return s + torch.log(-torch.expm1(-s))


def _stack(
    inputs: Sequence[Mapping[str, Tensor]], most: int, size: Sequence[int], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Stack valid shares (N, h, w) and components (N, M, h, w), zero-padded, with device and type of `like`."""
    maps = [x["components"].to(like, non_blocking=True) for x in inputs]
    batch = like.new_zeros(len(maps), 1 + max(most, 1), *size)
    for one, x in zip(batch, maps, strict=True):
        one[: len(x), : x.shape[1], : x.shape[2]] = x
    return batch[:, 0], batch[:, 1:]


def _likeness(chosen: Tensor, owners: Tensor, valid: Tensor) -> Tensor:
    """Average the cosine similarity over all pairs of regions with the same component in an image; sum over images.

    Every image with components has such a pair, since there are more active regions than components. The mean is taken
    per image, since the number of pairs depends on predictions: a mean over all pairs of a batch would depend on how
    the step is divided into batches.

    Args:
        chosen: The active regions (N, L, P) before the sigmoid.
        owners: The component of each region, (N, L), -1 for none.
        valid: The valid share of each cell, (N, P).
    """
    maps = F.normalize(chosen.sigmoid() * valid[:, None], dim=2, eps=1e-6)
    pairs = (owners[:, :, None] == owners[:, None]) & (owners[:, :, None] >= 0)
    pairs = pairs.to(maps.dtype).triu(diagonal=1)
    return divide(((maps @ maps.mT) * pairs).sum(dim=(1, 2)), pairs.sum(dim=(1, 2))).sum()
