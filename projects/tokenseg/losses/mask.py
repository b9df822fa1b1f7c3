"""Losses of methods whose tokens draw masks: focal and dice on masks, cross entropy on classes, who learns which mask.

A token's mask is learnt only where one of the image's masks is assigned to the token: token k stands for class k
(`assign_by_class`), or tokens are matched to masks (`hungarian.HungarianAssigner`). The same loss on every prediction
of a list is deep supervision. Masks of tokens without an assignment are never resized, which is most of them.

Papers: focal loss, Lin et al. 2017, Eq. 5; dice loss, Milletari et al. 2016, smoothed by one pixel as in DETR. All of
it runs in single precision under autocast. Letters: N images, Q tokens, K classes, T masks to learn, M pairs of a token
and a mask, P pixels.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from detectron2.utils.logger import log_first_n
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Counts, Targets
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from .counts import divide
from .mask_targets import MaskTargets, SemanticMasks

_TERMS = ("focal", "dice", "class")


class MaskPrediction(NamedTuple):
    """What the tokens say at one stage."""

    masks: Tensor  # (N, Q, h, w) before the sigmoid, at any stride
    class_logits: Tensor | None = None  # (N, Q, K+1), the last one 'no object'; None: tokens without a class loss

    def needed_logits(self) -> Tensor:
        """The class logits; raises a ValueError if the prediction has none."""
        if self.class_logits is None:
            raise ValueError("a prediction has no class_logits, which its loss needs")
        return self.class_logits


class Pairs(NamedTuple):
    """M pairs: token `tokens[m]` of image `images[m]` is to show mask `masks[m]`; (M,) each."""

    images: Tensor
    tokens: Tensor
    masks: Tensor  # places among the T masks of `MaskTargets`


Assigner = Callable[[Sequence[MaskPrediction], MaskTargets], list[Pairs]]


class MaskLoss(nn.Module):
    """Focal and dice loss on the masks of assigned tokens, and cross entropy on all tokens' classes."""

    def __init__(
        self,
        *,
        num_classes: int,
        weights: Mapping[str, float],
        num_tokens: int | None = None,
        assign: Assigner | None = None,
        find_masks: Callable[[Targets], MaskTargets] | None = None,
        no_object_weight: float = 0.1,
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            num_classes: The number of classes K.
            weights: Factors of the terms `focal`, `dice` and `class`; a term that is not named is not computed.
            num_tokens: Q; as many as classes by default.
            assign: Finds the pairs of every prediction; `assign_by_class` by default, or a `HungarianAssigner`.
            find_masks: Makes the masks of a batch out of its targets; by default one for each class of an image.
            no_object_weight: Weight in the class term of a token without a mask, where one with a mask has 1.
            ignore_value: Label of the pixels to ignore.

        Raises:
            ValueError: No term, or an unknown one.
        """
        super().__init__()
        check_terms(weights)
        self.num_classes, self.ignore_value = num_classes, ignore_value
        self.num_tokens = num_classes if num_tokens is None else num_tokens
        self.weights, self.no_object_weight = dict(weights), no_object_weight
        self.assign = assign_by_class if assign is None else assign
        self.find_masks = self._semantic_masks if find_masks is None else find_masks

    def _semantic_masks(self, targets: Targets) -> MaskTargets:
        return SemanticMasks.of(targets, num_classes=self.num_classes, ignore_value=self.ignore_value)

    def count(self, targets: Targets) -> Counts:
        """`masks` that are learnt, their pixels `mask_pixels`, and the tokens' weights in the class term, `tokens`.

        A pixel of an image that shows three classes counts three times among `mask_pixels`, once for each mask, and
        ignored pixels count too. With class weights, masks and their tokens count as much as their class.
        """
        found = self.find_masks(targets)
        own = count_masks(
            found,
            num_tokens=self.num_tokens,
            no_object_weight=self.no_object_weight,
            class_weights=targets.class_weights,
        )
        learnt = learnt_masks(found, num_tokens=self.num_tokens, class_weights=targets.class_weights)
        areas = torch.tensor(_areas(targets), dtype=torch.float32, device=learnt.device)
        return {**own, "mask_pixels": (learnt * areas).sum()}

    def forward(self, predictions: Sequence[MaskPrediction], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            predictions: One for every supervised stage.
            targets: Labels (N, H, W), to whose size masks are resized bilinearly, and the counts of `count`.

        Returns:
            `loss_focal`, `loss_dice`, `loss_class`, weighted, each summed over the predictions and divided by the
            pixels of all masks, the masks, or the tokens of the step; zero, with gradients, where every pixel is
            ignored.

        Raises:
            ValueError: No prediction, one of another number of tokens than Q, or a class term and a prediction without
                class logits.
        """
        # Where masks are computed when they are asked for, this is done once.
        predictions = [MaskPrediction(each.masks, each.class_logits) for each in predictions]
        self._check(predictions)
        found = self.find_masks(targets)
        losses = {f"loss_{name}": targets.labels.new_zeros((), dtype=torch.float32) for name in self.weights}
        for prediction, pairs in zip(predictions, self.assign(predictions, found), strict=True):
            for name, value in self._terms(prediction, pairs, found, targets).items():
                losses[f"loss_{name}"] = losses[f"loss_{name}"] + self.weights[name] * value
        return losses

    def _check(self, predictions: Sequence[MaskPrediction]) -> None:
        if not predictions:
            raise ValueError("there is no prediction; wanted one or more")
        wrong = {len(prediction.masks[0]) for prediction in predictions} - {self.num_tokens}
        if wrong:
            raise ValueError(f"a prediction has masks of {wrong.pop()} tokens; wanted num_tokens, {self.num_tokens}")
        if "class" in self.weights and any(prediction.class_logits is None for prediction in predictions):
            raise ValueError("weights name the term class, and a prediction has no class_logits")

    def _terms(
        self, prediction: MaskPrediction, pairs: Pairs, found: MaskTargets, targets: Targets
    ) -> dict[str, Tensor]:
        terms, counts, class_weights = {}, targets.counts, targets.class_weights
        if {"focal", "dice"} & self.weights.keys():
            logits, masks, valid = masks_at_pixels(prediction.masks, pairs, found)
            weights = None if class_weights is None else class_weights[found.classes[pairs.masks]]
            if "focal" in self.weights:
                terms["focal"] = divide(focal_loss(logits, masks, valid, weights=weights), counts["mask_pixels"])
            if "dice" in self.weights:
                terms["dice"] = divide(dice_loss(logits, masks, valid, weights=weights), counts["masks"])
        if "class" in self.weights:
            labels, weights = class_targets(
                prediction.needed_logits(),
                pairs,
                found,
                no_object_weight=self.no_object_weight,
                class_weights=class_weights,
            )
            terms["class"] = divide(class_loss(prediction.needed_logits(), labels, weights), counts["tokens"])
        return terms


def learnt_masks(found: MaskTargets, *, num_tokens: int, class_weights: Tensor | None) -> Tensor:
    """(N,) how much the masks that are learnt of each image count together: their number, or the sum of their weights.

    Where an image has more masks than there are tokens, those that go without are not known before the prediction: the
    sum of all weights is reduced in proportion then.

    Args:
        found: The masks.
        num_tokens: The number of tokens Q.
        class_weights: (K,), or None where each mask counts once.
    """
    numbers = torch.tensor(found.per_image, dtype=torch.float32, device=found.valid.device)
    sums = numbers
    if class_weights is not None:
        sums = numbers.new_zeros(len(numbers), dtype=class_weights.dtype).index_add_(
            0, found.images, class_weights[found.classes]
        )
    return sums * (numbers.clamp(max=num_tokens) / numbers.clamp(min=1))


def count_masks(
    found: MaskTargets, *, num_tokens: int, no_object_weight: float, class_weights: Tensor | None = None
) -> Counts:
    """The masks that are learnt, and the sum of the tokens' weights in the class term.

    Where an image has more masks than there are tokens, this is said once in the log.

    Args:
        found: The masks.
        num_tokens: The number of tokens Q.
        no_object_weight: Weight of a token without a mask, where one with a mask has 1.
        class_weights: (K,) weights of masks, and of tokens with a mask; None: 1 each.

    Returns:
        `masks` and `tokens`.
    """
    most = max(found.per_image, default=0)
    if most > num_tokens:
        log_first_n(
            logging.WARNING,
            f"an image has {most} masks and there are {num_tokens} tokens: the costliest masks go without, in this "
            "image and in others like it",
            name=__name__,
        )
    learnt = learnt_masks(found, num_tokens=num_tokens, class_weights=class_weights)
    without = torch.tensor([max(num_tokens - own, 0) for own in found.per_image], device=found.valid.device)
    tokens = (no_object_weight * without + learnt) * found.shown
    return {"masks": learnt.sum(), "tokens": tokens.sum()}


def _areas(targets: Targets) -> list[int]:
    """Pixels of each image, without what pads it to its batch, which depends on how a step is cut into batches."""
    whole = targets.labels[0].numel() if len(targets.labels) else 0
    records = targets.inputs or [{}] * len(targets.labels)
    return [record["sem_seg"].numel() if "sem_seg" in record else whole for record in records]


def check_terms(weights: Mapping[str, float]) -> None:
    """Raise a ValueError unless the weights name some of the terms there are, and no other."""
    if not weights or not set(weights) <= set(_TERMS):
        raise ValueError(f"weights name the terms {list(weights)}; wanted some of {', '.join(_TERMS)}")


def assign_by_class(predictions: Sequence[MaskPrediction], found: MaskTargets) -> list[Pairs]:
    """Token k stands for class k: each mask goes to the token of its class, the same for every prediction.

    Args:
        predictions: The predictions, each of Q = K tokens.
        found: The target masks, at most one for each class of an image.
    """
    places = torch.arange(len(found.classes), device=found.classes.device)
    return [Pairs(found.images, found.classes, places)] * len(predictions)


def masks_at_pixels(masks: Tensor, pairs: Pairs, found: MaskTargets) -> tuple[Tensor, Tensor, Tensor]:
    """The assigned tokens' masks at the size of the labels, and what they should be.

    Args:
        masks: (N, Q, h, w) before the sigmoid.
        pairs: The pairs of tokens and masks that are wanted.
        found: The masks to learn.

    Returns:
        (M, P) each, P = H * W: logits, the wanted mask (bool), and which pixels count (bool).
    """
    chosen = resize(at_least_single(masks[pairs.images, pairs.tokens][:, None]), found.valid.shape[-2:])
    return chosen.flatten(1), found.masks(pairs.masks).flatten(1), found.valid[pairs.images].flatten(1)


def focal_terms(logits: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> tuple[Tensor, Tensor]:
    """The focal loss of every pixel, were it inside what is wanted, and were it outside; shaped as the logits.

    Args:
        logits: Before the sigmoid, of any shape.
        alpha: Weight of pixels inside, 1 - alpha of those outside.
        gamma: The exponent that says how strongly easy pixels are discounted.
    """
    # 1 - p_t and -log p_t, each by a function that neither overflows nor cancels
    inside = alpha * torch.sigmoid(-logits).pow(gamma) * F.softplus(-logits)
    return inside, (1 - alpha) * torch.sigmoid(logits).pow(gamma) * F.softplus(logits)


def dice(overlap: Tensor, areas: Tensor) -> Tensor:
    """One minus the dice overlap, smoothed by one pixel, of what two masks share and the sum of their areas."""
    return 1 - (2 * overlap + 1) / (areas + 1)


def focal_loss(
    logits: Tensor,
    masks: Tensor,
    valid: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Focal loss, summed over the valid pixels of all masks.

    The authors of the methods that use it average over all pixels, ignored ones too, which they take for outside. Here
    the sum is divided by as many, so that a pixel that counts has the gradient that it has there, in whatever crop it
    lies. A mean over the valid pixels of each mask would give the few pixels of a crop that is nearly ignored hundreds
    of times that.

    Args:
        logits: (M, P) before the sigmoid.
        masks: (M, P) bool, the wanted masks.
        valid: (M, P) bool, pixels that count.
        alpha: The argument `alpha` of `focal_terms`.
        gamma: The argument `gamma` of `focal_terms`.
        weights: (M,) weights of the masks; None weights all alike.
    """
    logits = at_least_single(logits)
    toward_truth = torch.where(masks, logits, -logits)
    shares = torch.where(masks, alpha, 1 - alpha) * valid
    # `focal_terms` of what is wanted alone, in half the memory
    pixels = torch.sigmoid(-toward_truth).pow(gamma) * F.softplus(-toward_truth)
    if weights is not None:
        shares = shares * weights[:, None]
    return (pixels * shares).sum()


def dice_loss(logits: Tensor, masks: Tensor, valid: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """`dice` of each mask, summed over masks.

    Args:
        logits: (M, P) before the sigmoid.
        masks: (M, P) bool, the wanted masks, False where a pixel does not count.
        valid: (M, P) bool, pixels that count.
        weights: (M,) weights of the masks; None weights all alike.
    """
    inside = at_least_single(logits).sigmoid() * valid
    overlap = (inside * masks).sum(dim=1)
    each = dice(overlap, inside.sum(dim=1) + masks.sum(dim=1))
    return each.sum() if weights is None else (each * weights).sum()


def class_targets(
    class_logits: Tensor,
    pairs: Pairs,
    found: MaskTargets,
    *,
    no_object_weight: float,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Class and weight of every token.

    Args:
        class_logits: (N, Q, K+1).
        pairs: Tokens that have a mask, and so its class; all others are 'no object', K.
        found: The masks; tokens of images that are ignored altogether have no weight.
        no_object_weight: Weight of tokens without a mask, where the others have 1.
        class_weights: (K,) weights of the others in place of 1.

    Returns:
        Labels and weights, (N, Q) each.
    """
    num_images, num_tokens, last = class_logits.shape
    labels = torch.full((num_images, num_tokens), last - 1, device=class_logits.device)
    labels[pairs.images, pairs.tokens] = found.classes[pairs.masks]
    weights = token_weights(labels, last - 1, no_object_weight=no_object_weight, class_weights=class_weights)
    return labels, weights * found.shown[:, None]


def token_weights(labels: Tensor, num_classes: int, *, no_object_weight: float, class_weights: Tensor | None) -> Tensor:
    """The weights of tokens in the class term, shaped as their labels, of which K is 'no object'."""
    if class_weights is None:
        return torch.where(labels == num_classes, no_object_weight, 1.0)
    return torch.cat([class_weights, class_weights.new_tensor([no_object_weight])])[labels]


def class_loss(class_logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy, summed over tokens.

    Args:
        class_logits: (N, Q, K+1).
        labels: (N, Q) of 0..K.
        weights: (N, Q).
    """
    logits = at_least_single(class_logits).flatten(0, 1)
    each = F.cross_entropy(logits, labels.flatten(), reduction="none")
    return (each * weights.flatten()).sum()
