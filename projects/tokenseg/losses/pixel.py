"""Per-pixel losses."""

from torch import Tensor
from torch.nn import functional as F

from ..contracts import Counts, Targets
from ..layers.memory_order import in_fastest_order, is_channels_last
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from .counts import divide


def count_pixels(targets: Targets, *, ignore_value: int) -> Counts:
    """Count the pixels that are not ignored, `pixels`, by which `pixel_cross_entropy` divides.

    With class weights the count is the sum of the weights of these pixels.
    """
    valid = targets.labels != ignore_value
    if targets.class_weights is None:
        return {"pixels": valid.sum()}
    return {"pixels": targets.class_weights[targets.labels[valid]].sum()}


def pixel_cross_entropy(logits: Tensor, targets: Targets, *, ignore_value: int) -> Tensor:
    """Cross entropy averaged over the step's valid pixels; zero, still with gradients, if there are none.

    Args:
        logits: The logits (N, K, h, w), which are resized bilinearly to the labels.
        targets: The labels (N, H, W), the count `pixels`, and the class weights, if any.
        ignore_value: The label of the pixels to ignore.
    """
    # The fastest memory order also leaves the softmax and its gradient without a copy of the full-size map.
    logits = resize(in_fastest_order(at_least_single(logits)), targets.labels.shape[-2:])
    labels = targets.labels
    if is_channels_last(logits):
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    # Detectron2's own `layers.cross_entropy` cannot be used, since version 0.5 ignores its argument `reduction`.
    total = F.cross_entropy(logits, labels, targets.class_weights, ignore_index=ignore_value, reduction="sum")
    return divide(total, targets.counts["pixels"])
