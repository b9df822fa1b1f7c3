"""Hungarian matching of tokens to the masks of an image, as an assigner of `MaskLoss`.

Papers: DETR, Carion et al. 2020, section 3.1; MaskFormer, Cheng et al. 2021, section 3.2. Letters: N images, Q tokens,
K classes, T masks of an image, P pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..layers.single_precision import at_least_single
from .mask import MaskPrediction, Pairs, check_terms, dice, focal_terms
from .mask_targets import MaskTargets


class HungarianAssigner:
    """One token for every mask of an image, so that the sum of their costs is least.

    Costs are counted at the size of the predicted masks by matrix products, for all images and predictions before the
    one transfer to the CPU, where the matching is solved.
    """

    def __init__(self, *, weights: Mapping[str, float]) -> None:
        """
        Args:
            weights: Factors of the costs `focal`, `dice` and `class`; one that is not named is not counted.

        Raises:
            ValueError: No cost, or an unknown one.
        """
        check_terms(weights)
        self.weights = dict(weights)

    @torch.no_grad()
    def __call__(self, predictions: Sequence[MaskPrediction], found: MaskTargets) -> list[Pairs]:
        """
        Args:
            predictions: One for every supervised stage.
            found: The masks to learn.

        Returns:
            The pairs of every prediction; where an image has more masks than tokens, the costliest go without.
        """
        costs = torch.stack([self.costs(prediction, found) for prediction in predictions])
        # a cost that is not finite would end the matching without a word on the loss that it comes from
        costs = costs.nan_to_num().cpu()
        return [least_cost_pairs(each, found) for each in costs]

    def costs(self, prediction: MaskPrediction, found: MaskTargets) -> Tensor:
        """Cost of every token for every mask of its image.

        Args:
            prediction: The prediction of one stage.
            found: The masks, which nearest sampling brings to the size of the predicted ones.

        Returns:
            (N, Q, most masks of an image); without meaning where an image has fewer.
        """
        masks, valid = (x.flatten(-2) for x in found.at_size(prediction.masks.shape[-2:]))
        logits = at_least_single(prediction.masks.flatten(2))
        cost = logits.new_zeros(())
        with torch.autocast(logits.device.type, enabled=False):
            if "focal" in self.weights:
                cost = cost + self.weights["focal"] * focal_costs(logits, masks, valid)
            if "dice" in self.weights:
                cost = cost + self.weights["dice"] * dice_costs(logits, masks, valid)
        if "class" in self.weights:
            if prediction.class_logits is None:
                raise ValueError("weights name the cost class, and a prediction has no class_logits")
            cost = cost + self.weights["class"] * class_costs(prediction.class_logits, found)
        return cost


def class_costs(class_logits: Tensor, found: MaskTargets) -> Tensor:
    """Minus the probability that each token (N, Q, K+1) gives to the class of each mask: (N, Q, most masks)."""
    probabilities = at_least_single(class_logits).softmax(dim=-1)
    classes = found.padded(found.classes, 0)[:, None].expand(-1, probabilities.shape[1], -1)
    return -probabilities.gather(2, classes)


def focal_costs(logits: Tensor, masks: Tensor, valid: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The focal loss of every token's mask for every wanted mask.

    Args:
        logits: (..., Q, P) before the sigmoid, in single precision.
        masks: (..., T, P) bool, the wanted masks, False where a pixel does not count.
        valid: (..., P) bool, pixels that count.
        alpha: The argument `alpha` of `focal_terms`.
        gamma: The argument `gamma` of `focal_terms`.

    Returns:
        (..., Q, T).
    """
    inside, outside = focal_terms(logits, alpha=alpha, gamma=gamma)
    outside = outside * valid[..., None, :]
    by_mask = (inside - outside) @ masks.to(logits.dtype).transpose(-1, -2)
    return (by_mask + outside.sum(dim=-1, keepdim=True)) / valid.sum(dim=-1).clamp(min=1)[..., None, None]


def dice_costs(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """The dice loss of every token's mask for every wanted mask; arguments and shapes as in `focal_costs`."""
    inside = logits.sigmoid() * valid[..., None, :]
    overlap = inside @ masks.to(logits.dtype).transpose(-1, -2)
    return dice(overlap, inside.sum(dim=-1)[..., :, None] + masks.sum(dim=-1)[..., None, :])


def least_cost_pairs(costs: Tensor, found: MaskTargets) -> Pairs:
    """The pairs of least cost.

    Args:
        costs: (N, Q, most masks of an image) on the CPU, all finite.
        found: The masks; the pairs lie on their device.
    """
    images, tokens, masks, first = [], [], [], 0
    for image, (cost, count) in enumerate(zip(costs, found.per_image, strict=True)):
        rows, columns = linear_sum_assignment(cost[:, :count].numpy())
        images += [image] * len(rows)
        tokens += rows.tolist()
        masks += (first + columns).tolist()
        first += count
    pairs = torch.tensor([images, tokens, masks], dtype=torch.long)
    return Pairs(*pairs.to(found.classes.device, non_blocking=True))
