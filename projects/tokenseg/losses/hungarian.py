"""Hungarian matching of tokens to the target masks of an image, an assigner for `MaskLoss`.

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
    """Assigns one token to every mask of an image such that the total cost is minimal.

    Costs are computed at the resolution of the predicted masks, as matrix products, for all images and predictions.
    They are then copied to the CPU in a single transfer, since the assignment is solved there.
    """

    def __init__(self, *, weights: Mapping[str, float]) -> None:
        """
        Args:
            weights: The weights of the costs `focal`, `dice` and `class`. Costs without a weight are not computed.

        Raises:
            ValueError: `weights` is empty or names an unknown cost.
        """
        check_terms(weights)
        self.weights = dict(weights)

    @torch.compiler.disable  # the costs go to the CPU, and the number of masks changes from image to image
    @torch.no_grad()
    def __call__(self, predictions: Sequence[MaskPrediction], found: MaskTargets) -> list[Pairs]:
        """
        Args:
            predictions: One prediction for every supervised stage.
            found: The target masks.

        Returns:
            The pairs for every prediction. If an image has more masks than tokens, the costliest masks stay unmatched.
        """
        costs = torch.stack([self.costs(prediction, found) for prediction in predictions])
        # The solver would fail on a cost that is not finite, with an error that does not mention the diverged loss.
        costs = costs.nan_to_num().cpu()
        return [least_cost_pairs(each, found) for each in costs]

    def costs(self, prediction: MaskPrediction, found: MaskTargets) -> Tensor:
        """Compute the cost of assigning each token to each mask of its image.

        Args:
            prediction: The prediction of one stage.
            found: The target masks, which are resized to the predicted masks by nearest-neighbour sampling.

        Returns:
            Costs (N, Q, maximum number of masks in an image). Entries beyond an image's own masks are meaningless.
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
    """Class costs (N, Q, maximum number of masks): the negative probability that a token gives to a mask's class.

    Args:
        class_logits: The class logits (N, Q, K+1) of the tokens.
        found: The target masks.
    """
    probabilities = at_least_single(class_logits).softmax(dim=-1)
    classes = found.padded(found.classes, 0)[:, None].expand(-1, probabilities.shape[1], -1)
    return -probabilities.gather(2, classes)


def focal_costs(logits: Tensor, masks: Tensor, valid: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Compute the focal loss between every token's mask and every target mask, averaged over the valid pixels.

    Args:
        logits: The predicted masks (..., Q, P) before the sigmoid, in single precision.
        masks: The target masks (..., T, P) bool, False at ignored pixels.
        valid: The pixels that are not ignored, (..., P) bool.
        alpha: The argument `alpha` of `focal_terms`.
        gamma: The argument `gamma` of `focal_terms`.

    Returns:
        The costs (..., Q, T).
    """
    inside, outside = focal_terms(logits, alpha=alpha, gamma=gamma)
    outside = outside * valid[..., None, :]
    by_mask = (inside - outside) @ masks.to(logits.dtype).transpose(-1, -2)
    return (by_mask + outside.sum(dim=-1, keepdim=True)) / valid.sum(dim=-1).clamp(min=1)[..., None, None]


def dice_costs(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Compute the dice loss between every token's mask and every target mask; shapes as in `focal_costs`."""
    inside = logits.sigmoid() * valid[..., None, :]
    overlap = inside @ masks.to(logits.dtype).transpose(-1, -2)
    return dice(overlap, inside.sum(dim=-1)[..., :, None] + masks.sum(dim=-1)[..., None, :])


def least_cost_pairs(costs: Tensor, found: MaskTargets) -> Pairs:
    """Solve the assignment problem of every image.

    Args:
        costs: The costs (N, Q, maximum number of masks in an image), on the CPU and all finite.
        found: The target masks. The returned pairs are on their device.
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
