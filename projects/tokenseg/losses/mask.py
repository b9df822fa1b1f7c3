"""Losses for tokens that predict masks: focal and dice loss on masks, cross entropy on classes, and the assignment.

A token's mask is supervised only if a target mask of the image is assigned to the token. Either token k stands for
class k (`assign_by_class`), or tokens are matched to masks (`hungarian.HungarianAssigner`). Applying the loss to every
prediction of a list gives deep supervision. The masks of unassigned tokens, usually the majority, are never resized.

Papers: focal loss, Lin et al. 2017, Eq. 5; dice loss, Milletari et al. 2016, smoothed by one pixel as in DETR. All
losses are computed in single precision, also under autocast. Letters: N images, Q tokens, K classes, T target masks,
M pairs of a token and a mask, P pixels.
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
    """The masks and class logits that the tokens predict at one stage."""

    masks: Tensor  # (N, Q, h, w) before the sigmoid, at any stride
    class_logits: Tensor | None = None  # (N, Q, K+1), the last one 'no object'; None if classes are not predicted

    def needed_logits(self) -> Tensor:
        """Return the class logits, or raise a ValueError if the prediction has none."""
        if self.class_logits is None:
            raise ValueError("a prediction has no class_logits, which its loss needs")
        return self.class_logits


class Pairs(NamedTuple):
    """M pairs, as indices (M,): mask `masks[m]` is the target of token `tokens[m]` of image `images[m]`."""

    images: Tensor
    tokens: Tensor
    masks: Tensor  # indices into the T masks of `MaskTargets`


Assigner = Callable[[Sequence[MaskPrediction], MaskTargets], list[Pairs]]


class MaskLoss(nn.Module):
    """Focal and dice loss on the masks of the assigned tokens, and cross entropy on the classes of all tokens."""

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
            weights: The weights of the terms `focal`, `dice` and `class`. Terms without a weight are not computed.
            num_tokens: The number of tokens Q, by default the number of classes.
            assign: The function that assigns tokens to masks: `assign_by_class` (default) or a `HungarianAssigner`.
            find_masks: The function that extracts the target masks of a batch; by default one mask per class present.
            no_object_weight: The weight of an unassigned token in the class term; assigned tokens have weight 1.
            ignore_value: The label of the pixels to ignore.

        Raises:
            ValueError: `weights` is empty or names an unknown term.
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
        """Count the supervised masks, `masks`, their pixels, `mask_pixels`, and the class-term weights, `tokens`.

        In an image with three target masks, each pixel is counted three times in `mask_pixels`, even if it is ignored.
        With class weights, each mask and its token are counted with the weight of their class.
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
            predictions: One prediction for every supervised stage.
            targets: The labels (N, H, W), to whose size masks are resized bilinearly, and the counts from `count`.

        Returns:
            The weighted losses `loss_focal`, `loss_dice` and `loss_class`, summed over the predictions and divided by
            the step's number of mask pixels, masks, and weighted tokens, respectively. They are zero, still with
            gradients, if every pixel is ignored.

        Raises:
            ValueError: There is no prediction, a prediction does not have Q tokens, or it lacks the class logits that
                the class term needs.
        """
        # A prediction may compute its masks anew at every access; this evaluates them once.
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
    """Count the supervised masks of each image, (N,): their number, or the sum of their class weights.

    If an image has more masks than there are tokens, it is unknown before the prediction which masks will stay
    unmatched. The sum of the weights of all its masks is then scaled down in proportion.

    Args:
        found: The target masks.
        num_tokens: The number of tokens Q.
        class_weights: The class weights (K,), or None to count each mask once.
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
    """Count the supervised masks, and sum the weights of the tokens in the class term.

    A warning is logged once if an image has more masks than there are tokens.

    Args:
        found: The target masks.
        num_tokens: The number of tokens Q.
        no_object_weight: The weight of an unassigned token; assigned tokens have weight 1.
        class_weights: The weights (K,) of masks and of their tokens; None gives all of them weight 1.

    Returns:
        The counts `masks` and `tokens`.
    """
    most = max(found.per_image, default=0)
    if most > num_tokens:
        log_first_n(
            logging.WARNING,
            f"an image has {most} masks and there are {num_tokens} tokens: in this image and in others like it, the "
            "masks with the highest costs stay unmatched and are not learnt",
            name=__name__,
        )
    learnt = learnt_masks(found, num_tokens=num_tokens, class_weights=class_weights)
    without = torch.tensor([max(num_tokens - own, 0) for own in found.per_image], device=found.valid.device)
    tokens = (no_object_weight * without + learnt) * found.shown
    return {"masks": learnt.sum(), "tokens": tokens.sum()}


def _areas(targets: Targets) -> list[int]:
    """The number of pixels of each image, without padding, which depends on how a step is divided into batches."""
    whole = targets.labels[0].numel() if len(targets.labels) else 0
    records = targets.inputs or [{}] * len(targets.labels)
    return [record["sem_seg"].numel() if "sem_seg" in record else whole for record in records]


def check_terms(weights: Mapping[str, float]) -> None:
    """Raise a ValueError if the weights are empty or name an unknown term."""
    if not weights or not set(weights) <= set(_TERMS):
        raise ValueError(f"weights name the terms {list(weights)}; wanted some of {', '.join(_TERMS)}")


def assign_by_class(predictions: Sequence[MaskPrediction], found: MaskTargets) -> list[Pairs]:
    """Assign each mask to the token of its class, identically for every prediction.

    Args:
        predictions: The predictions, each with one token per class (Q = K).
        found: The target masks, at most one per class in each image.
    """
    places = torch.arange(len(found.classes), device=found.classes.device)
    return [Pairs(found.images, found.classes, places)] * len(predictions)


def masks_at_pixels(masks: Tensor, pairs: Pairs, found: MaskTargets) -> tuple[Tensor, Tensor, Tensor]:
    """Resize the masks of the assigned tokens to the labels and pair them with their targets.

    Args:
        masks: The predicted masks (N, Q, h, w) before the sigmoid.
        pairs: The assigned pairs of tokens and masks.
        found: The target masks.

    Returns:
        The logits, the target masks (bool) and the valid pixels (bool), each (M, P) with P = H * W.
    """
    chosen = resize(at_least_single(masks[pairs.images, pairs.tokens][:, None]), found.valid.shape[-2:])
    return chosen.flatten(1), found.masks(pairs.masks).flatten(1), found.valid[pairs.images].flatten(1)


def focal_terms(logits: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> tuple[Tensor, Tensor]:
    """Compute the focal loss of every pixel for a positive and for a negative target, each shaped like the logits.

    Args:
        logits: The logits before the sigmoid, of any shape.
        alpha: The weight of positive pixels; negative pixels have weight 1 - alpha.
        gamma: The exponent of the focal factor, which reduces the weight of easy pixels.
    """
    # Computing 1 - p_t as a sigmoid and -log p_t as a softplus avoids both overflow and cancellation.
    inside = alpha * torch.sigmoid(-logits).pow(gamma) * F.softplus(-logits)
    return inside, (1 - alpha) * torch.sigmoid(logits).pow(gamma) * F.softplus(logits)


def dice(overlap: Tensor, areas: Tensor) -> Tensor:
    """Dice loss, smoothed by one pixel, from the intersection of two masks and the sum of their areas."""
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

    The authors of the methods that use this loss average over all pixels and treat ignored ones as negatives. The
    caller divides this sum by the same number of pixels, so a valid pixel has the same gradient as in their code,
    whatever crop it lies in. A mean over the valid pixels of each mask would multiply the gradients of the few valid
    pixels of a nearly ignored crop by several hundred.

    Args:
        logits: The predicted masks (M, P) before the sigmoid.
        masks: The target masks (M, P) bool.
        valid: The pixels that are not ignored, (M, P) bool.
        alpha: The argument `alpha` of `focal_terms`.
        gamma: The argument `gamma` of `focal_terms`.
        weights: (M,) weights of the masks; None weights all alike.
    """
    logits = at_least_single(logits)
    toward_truth = torch.where(masks, logits, -logits)
    shares = torch.where(masks, alpha, 1 - alpha) * valid
    # Compute only the term of `focal_terms` that matches the target, which halves the memory.
    pixels = torch.sigmoid(-toward_truth).pow(gamma) * F.softplus(-toward_truth)
    if weights is not None:
        shares = shares * weights[:, None]
    return (pixels * shares).sum()


def dice_loss(logits: Tensor, masks: Tensor, valid: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Dice loss of each mask, summed over the masks.

    Args:
        logits: The predicted masks (M, P) before the sigmoid.
        masks: The target masks (M, P) bool, False at ignored pixels.
        valid: The pixels that are not ignored, (M, P) bool.
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
    """Determine the target class and the weight of every token in the class term.

    Args:
        class_logits: The class logits (N, Q, K+1), which give the shapes.
        pairs: The assigned tokens, which get the classes of their masks; all other tokens get 'no object', K.
        found: The target masks. Tokens of fully ignored images get weight 0.
        no_object_weight: The weight of unassigned tokens; assigned tokens have weight 1.
        class_weights: The weights (K,) of assigned tokens by class, in place of 1.

    Returns:
        The labels and the weights, (N, Q) each.
    """
    num_images, num_tokens, last = class_logits.shape
    labels = torch.full((num_images, num_tokens), last - 1, device=class_logits.device)
    labels[pairs.images, pairs.tokens] = found.classes[pairs.masks]
    weights = token_weights(labels, last - 1, no_object_weight=no_object_weight, class_weights=class_weights)
    return labels, weights * found.shown[:, None]


def token_weights(labels: Tensor, num_classes: int, *, no_object_weight: float, class_weights: Tensor | None) -> Tensor:
    """Look up the weights of tokens in the class term, shaped like their labels, in which K means 'no object'."""
    if class_weights is None:
        return torch.where(labels == num_classes, no_object_weight, 1.0)
    return torch.cat([class_weights, class_weights.new_tensor([no_object_weight])])[labels]


def class_loss(class_logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy, summed over the tokens.

    Args:
        class_logits: The class logits (N, Q, K+1).
        labels: The target classes (N, Q), from 0 to K.
        weights: The weights (N, Q) of the tokens.
    """
    logits = at_least_single(class_logits).flatten(0, 1)
    each = F.cross_entropy(logits, labels.flatten(), reduction="none")
    return (each * weights.flatten()).sum()
