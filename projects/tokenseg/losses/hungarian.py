"""Hungarian matching of tokens to the classes of an image, as an assigner of `MaskLoss`.

Papers: DETR, Carion et al. 2020, section 3.1; MaskFormer, Cheng et al. 2021, section 3.2. Letters: N images, Q tokens,
K classes, P pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from .mask import MaskPrediction, Pairs, check_terms, dice, focal_terms


class HungarianAssigner:
    """One token for every class of an image, so that the sum of their costs is least.

    Costs are counted at the size of the masks by matrix products, for all images and predictions before the one
    transfer to the CPU, where the matching is solved.
    """

    def __init__(self, *, weights: Mapping[str, float], ignore_value: int = 255) -> None:
        """
        Args:
            weights: of the costs `focal`, `dice` and `class`; one that is not named is not counted.
            ignore_value: label of pixels that do not count.

        Raises:
            ValueError: no cost, or an unknown one.
        """
        check_terms(weights)
        self.weights, self.ignore_value = dict(weights), ignore_value

    @torch.no_grad()
    def __call__(self, predictions: Sequence[MaskPrediction], targets: Tensor, present: Tensor) -> list[Pairs]:
        """
        Args:
            predictions: of every supervised stage.
            targets: (N, H, W) class ids or `ignore_value`.
            present: (N, K), of `present_classes`.

        Returns:
            The pairs of every prediction; where an image has more classes than tokens, the costliest go without.
        """
        costs = torch.stack([self.costs(prediction, targets, present.shape[1]) for prediction in predictions])
        # a cost that is not finite would end the matching without a word on the loss that it comes from
        flat = torch.cat([costs.nan_to_num().flatten(), present.flatten()]).cpu()
        found = flat[costs.numel() :].view(present.shape).bool()
        return [_match(each, found, targets.device) for each in flat[: costs.numel()].view(costs.shape)]

    def costs(self, prediction: MaskPrediction, targets: Tensor, num_classes: int) -> Tensor:
        """Cost of every token for every class.

        Args:
            prediction: of one stage.
            targets: (N, H, W) class ids or `ignore_value`, resized by nearest sampling to the masks.
            num_classes: K.

        Returns:
            (N, Q, K).
        """
        size = prediction.masks.shape[-2:]
        labels = F.interpolate(targets[:, None].float(), size=size, mode="nearest")[:, 0].long().flatten(1)
        valid = labels != self.ignore_value
        masks = labels[:, None] == torch.arange(num_classes, device=labels.device)[:, None]
        logits, cost = prediction.masks.flatten(2).float(), 0.0
        with torch.autocast(logits.device.type, enabled=False):
            if "focal" in self.weights:
                cost = cost + self.weights["focal"] * focal_costs(logits, masks, valid)
            if "dice" in self.weights:
                cost = cost + self.weights["dice"] * dice_costs(logits, masks, valid)
        if "class" in self.weights:
            if prediction.class_logits is None:
                raise ValueError("weights name the cost class, and a prediction has no class_logits")
            cost = cost - self.weights["class"] * prediction.class_logits.float().softmax(dim=-1)[..., :num_classes]
        return cost


def focal_costs(logits: Tensor, masks: Tensor, valid: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The focal loss of every token's mask for every wanted mask.

    Args:
        logits: (..., Q, P) before the sigmoid, in single precision.
        masks: (..., T, P) of bool, the wanted masks, False where a pixel does not count.
        valid: (..., P) of bool, pixels that count.
        alpha: as in `focal_terms`.
        gamma: as in `focal_terms`.

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


def _match(costs: Tensor, present: Tensor, device: torch.device) -> Pairs:
    """Pairs of least cost, out of (N, Q, K) costs and (N, K) present classes on the CPU."""
    images, tokens, classes = [], [], []
    for image, (cost, found) in enumerate(zip(costs, present, strict=True)):
        own = found.nonzero()[:, 0]
        rows, columns = linear_sum_assignment(cost[:, own].numpy())
        images += [image] * len(rows)
        tokens += rows.tolist()
        classes += own[columns].tolist()
    return Pairs(*torch.tensor([images, tokens, classes], dtype=torch.long).to(device, non_blocking=True))
