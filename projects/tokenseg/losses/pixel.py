"""Losses over pixels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contracts import Counts, Targets
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from .counts import divide


def count_pixels(targets: Targets, *, ignore_value: int) -> Counts:
    """The count `pixels`, of the pixels that are not ignored, which `pixel_cross_entropy` divides by.

    With class weights it is the sum of the weights of these pixels.
    """
    valid = targets.labels != ignore_value
    if targets.class_weights is None:
        return {"pixels": valid.sum()}
    return {"pixels": targets.class_weights[targets.labels[valid]].sum()}


def pixel_cross_entropy(logits: Tensor, targets: Targets, *, ignore_value: int) -> Tensor:
    """Cross entropy averaged over the valid pixels of the step; zero, with gradients, where there is none.

    Args:
        logits: (N, K, h, w), resized bilinearly to the labels' size.
        targets: Labels (N, H, W) of class ids or `ignore_value`, the count `pixels`, and class weights, if any.
        ignore_value: Label of the pixels to ignore.
    """
    # With the classes of a pixel in a row, neither softmax nor its gradient copies the map at the labels' size.
    logits = at_least_single(logits).contiguous(memory_format=torch.channels_last)
    logits = resize(logits, targets.labels.shape[-2:])
    pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)
    # not detectron2.layers.cross_entropy: version 0.5 drops its `reduction`
    total = F.cross_entropy(
        pixels, targets.labels.flatten(), targets.class_weights, ignore_index=ignore_value, reduction="sum"
    )
    return divide(total, targets.counts["pixels"])
