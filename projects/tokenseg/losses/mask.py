"""Losses of methods whose tokens draw masks: focal and dice on masks, cross entropy on classes, who learns which mask.

A token's mask is learnt only where a class is assigned to the token: token k stands for class k (`assign_by_class`), or
tokens are matched to the classes of the image (`matching.HungarianAssigner`). The same loss on every prediction of a
list is deep supervision. Masks of absent classes are never resized, which is most of them.

Papers: focal loss, Lin et al. 2017, Eq. 5; dice loss, Milletari et al. 2016, smoothed by one pixel as in DETR. All of
it runs in single precision under autocast. Letters: N images, Q tokens, K classes, M masks to learn, P pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .pixel import mean_over_ranks

# A normaliser of a batch without masks: the sums that it divides are zero.
_TINY = 1e-6
_TERMS = ("focal", "dice", "class")


class MaskPrediction(NamedTuple):
    """What the tokens say at one stage."""

    masks: Tensor  # (N, Q, h, w) before the sigmoid, at any stride
    class_logits: Tensor | None = None  # (N, Q, K+1), the last one 'no object'; None: tokens without a class loss


class Pairs(NamedTuple):
    """M masks to learn: token `tokens[m]` of image `images[m]` is to show class `classes[m]`; (M,) each."""

    images: Tensor
    tokens: Tensor
    classes: Tensor


Assigner = Callable[[Sequence[MaskPrediction], Tensor, Tensor], list[Pairs]]


class MaskLoss(nn.Module):
    """Focal and dice loss on the masks of assigned tokens, and cross entropy on all tokens' classes."""

    def __init__(
        self,
        *,
        num_classes: int,
        weights: Mapping[str, float],
        assign: Assigner | None = None,
        no_object_weight: float = 0.1,
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            num_classes: K.
            weights: of the terms `focal`, `dice` and `class`; a term that is not named is not computed.
            assign: of predictions, label maps (N, H, W) and present classes (N, K) to the pairs of every prediction;
                `assign_by_class` by default, or a `HungarianAssigner`.
            no_object_weight: of a token without a class in the class term, where one with a class has 1.
            ignore_value: label of pixels that do not count.

        Raises:
            ValueError: no term, or an unknown one.
        """
        super().__init__()
        check_terms(weights)
        self.num_classes, self.ignore_value = num_classes, ignore_value
        self.weights, self.no_object_weight = dict(weights), no_object_weight
        self.assign = assign_by_class if assign is None else assign

    def forward(self, predictions: Sequence[MaskPrediction], targets: Tensor) -> dict[str, Tensor]:
        """
        Args:
            predictions: of every supervised stage.
            targets: (N, H, W) class ids or `ignore_value`; masks are resized bilinearly to H x W.

        Returns:
            `loss_focal`, `loss_dice`, `loss_class`, weighted, each summed over the predictions. Normalised over the
            masks and tokens of all ranks; zero, with gradients, where every pixel is ignored.

        Raises:
            ValueError: no prediction, or a class term and a prediction without class logits.
        """
        if not predictions:
            raise ValueError("there is no prediction; wanted one or more")
        present = present_classes(targets, num_classes=self.num_classes, ignore_value=self.ignore_value)
        losses = {f"loss_{name}": targets.new_zeros((), dtype=torch.float32) for name in self.weights}
        for prediction, pairs in zip(predictions, self.assign(predictions, targets, present), strict=True):
            for name, value in self._terms(prediction, pairs, targets, present).items():
                losses[f"loss_{name}"] = losses[f"loss_{name}"] + self.weights[name] * value
        return losses

    def _terms(self, prediction: MaskPrediction, pairs: Pairs, targets: Tensor, present: Tensor) -> dict[str, Tensor]:
        terms = {}
        if {"focal", "dice"} & self.weights.keys():
            logits, masks, valid = masks_at_pixels(prediction.masks, pairs, targets, ignore_value=self.ignore_value)
            count = mean_over_ranks(targets.new_full((), len(logits))).clamp(min=_TINY)
            if "focal" in self.weights:
                terms["focal"] = focal_loss(logits, masks, valid, normaliser=count)
            if "dice" in self.weights:
                terms["dice"] = dice_loss(logits, masks, valid, normaliser=count)
        if "class" in self.weights:
            if prediction.class_logits is None:
                raise ValueError("weights name the term class, and a prediction has no class_logits")
            counts = present.any(dim=1)  # an image that is ignored altogether says nothing of what is absent either
            labels, weights = class_targets(
                prediction.class_logits, pairs, counts=counts, no_object_weight=self.no_object_weight
            )
            normaliser = mean_over_ranks(weights.sum()).clamp(min=_TINY)
            terms["class"] = class_loss(prediction.class_logits, labels, weights, normaliser=normaliser)
        return terms


def check_terms(weights: Mapping[str, float]) -> None:
    """Raise a ValueError unless the weights name some of the terms there are, and no other."""
    if not weights or not set(weights) <= set(_TERMS):
        raise ValueError(f"weights name the terms {list(weights)}; wanted some of {', '.join(_TERMS)}")


def present_classes(targets: Tensor, *, num_classes: int, ignore_value: int) -> Tensor:
    """Which classes the valid pixels of each image show: (N, K) of bool from (N, H, W) labels."""
    labels = targets.flatten(1)
    found = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    # ignored pixels fall into a column of their own
    return found.scatter_(1, labels.masked_fill(labels == ignore_value, num_classes), True)[:, :num_classes]


def assign_by_class(predictions: Sequence[MaskPrediction], targets: Tensor, present: Tensor) -> list[Pairs]:
    """Token k stands for class k: the pairs are the classes of the image, the same for every prediction.

    Args:
        predictions: with Q = K tokens.
        targets: not looked at.
        present: (N, K), of `present_classes`.
    """
    images, classes = present.nonzero(as_tuple=True)  # their number makes shapes: the one wait for the device
    return [Pairs(images, classes, classes)] * len(predictions)


def masks_at_pixels(
    masks: Tensor, pairs: Pairs, targets: Tensor, *, ignore_value: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The assigned tokens' masks at the size of the labels, and what they should be.

    Args:
        masks: (N, Q, h, w) before the sigmoid.
        pairs: which of them.
        targets: (N, H, W) class ids or `ignore_value`.
        ignore_value: label of pixels that do not count.

    Returns:
        (M, P) each, P = H * W: logits, the class's mask (bool), and which pixels count (bool).
    """
    chosen = masks[pairs.images, pairs.tokens][:, None].float()
    if chosen.shape[-2:] != targets.shape[-2:]:
        chosen = F.interpolate(chosen, size=targets.shape[-2:], mode="bilinear", align_corners=False)
    labels = targets.flatten(1)[pairs.images]
    return chosen.flatten(1), labels == pairs.classes[:, None], labels != ignore_value


def focal_terms(logits: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> tuple[Tensor, Tensor]:
    """The focal loss of every pixel, were it inside what is wanted, and were it outside; shaped as the logits.

    Args:
        logits: before the sigmoid, of any shape.
        alpha: weight of pixels inside, 1 - alpha of those outside.
        gamma: how strongly easy pixels are discounted.
    """
    # 1 - p_t and -log p_t, each by a function that neither overflows nor cancels
    inside = alpha * torch.sigmoid(-logits).pow(gamma) * F.softplus(-logits)
    return inside, (1 - alpha) * torch.sigmoid(logits).pow(gamma) * F.softplus(logits)


def dice(overlap: Tensor, areas: Tensor) -> Tensor:
    """One minus the dice overlap, smoothed by one pixel, of what two masks share and the sum of their areas."""
    return 1 - (2 * overlap + 1) / (areas + 1)


def focal_loss(
    logits: Tensor, masks: Tensor, valid: Tensor, *, normaliser: Tensor | float, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss, averaged over the valid pixels of each mask, summed over masks, divided by the normaliser.

    Args:
        logits: (M, P) before the sigmoid.
        masks: (M, P) of bool, the wanted masks.
        valid: (M, P) of bool, pixels that count.
        normaliser: what the sum over masks is divided by; more than 0.
        alpha: as in `focal_terms`.
        gamma: as in `focal_terms`.
    """
    logits = logits.float()
    toward_truth = torch.where(masks, logits, -logits)
    weights = torch.where(masks, alpha, 1 - alpha) * valid / valid.sum(dim=1, keepdim=True).clamp(min=1)
    # `focal_terms` of what is wanted alone, in half the memory
    pixels = torch.sigmoid(-toward_truth).pow(gamma) * F.softplus(-toward_truth)
    return (pixels * weights).sum() / normaliser


def dice_loss(logits: Tensor, masks: Tensor, valid: Tensor, *, normaliser: Tensor | float) -> Tensor:
    """`dice` of each mask, summed over masks, divided by the normaliser.

    Args:
        logits: (M, P) before the sigmoid.
        masks: (M, P) of bool, the wanted masks, False where a pixel does not count.
        valid: (M, P) of bool, pixels that count.
        normaliser: what the sum over masks is divided by; more than 0.
    """
    inside = logits.float().sigmoid() * valid
    overlap = (inside * masks).sum(dim=1)
    return dice(overlap, inside.sum(dim=1) + masks.sum(dim=1)).sum() / normaliser


def class_targets(
    class_logits: Tensor, pairs: Pairs, *, counts: Tensor, no_object_weight: float
) -> tuple[Tensor, Tensor]:
    """Class and weight of every token.

    Args:
        class_logits: (N, Q, K+1).
        pairs: tokens that have a class; all others are 'no object', K.
        counts: (N,) of bool, images whose tokens count.
        no_object_weight: of tokens without a class, where the others have 1.

    Returns:
        Labels and weights, (N, Q) each.
    """
    num_images, num_tokens, last = class_logits.shape
    labels = torch.full((num_images, num_tokens), last - 1, device=class_logits.device)
    labels[pairs.images, pairs.tokens] = pairs.classes
    return labels, torch.where(labels == last - 1, no_object_weight, 1.0) * counts[:, None]


def class_loss(class_logits: Tensor, labels: Tensor, weights: Tensor, *, normaliser: Tensor | float) -> Tensor:
    """Weighted cross entropy, summed over tokens, divided by the normaliser.

    Args:
        class_logits: (N, Q, K+1).
        labels: (N, Q) of 0..K.
        weights: (N, Q).
        normaliser: what the sum is divided by, such as the sum of weights; more than 0.
    """
    each = F.cross_entropy(class_logits.float().flatten(0, 1), labels.flatten(), reduction="none")
    return (each * weights.flatten()).sum() / normaliser
