"""Per-class score maps of methods whose tokens predict a class and a mask each."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .memory_order import channels_last
from .single_precision import at_least_single


def class_scores(masks: Tensor, class_logits: Tensor, *, size: Sequence[int]) -> Tensor:
    """Compute the score of each class at each pixel: the sum over tokens of class probability times mask.

    Masks are resized before the sigmoid, so that the border of a mask is the zero crossing of its resized logits.

    Args:
        masks: The masks (N, Q, h, w) before the sigmoid.
        class_logits: The class logits (N, Q, K+1); the last one is 'no object', which gets no score.
        size: The size (H, W) of the scores.

    Returns:
        The scores (N, K, H, W) in single precision and channels-last memory order.
    """
    return sum_of_masks(masks, class_probabilities(class_logits), size=size)


def class_probabilities(class_logits: Tensor) -> Tensor:
    """Compute class probabilities (N, Q, K) from logits (N, Q, K+1), of which the last one is 'no object'."""
    return at_least_single(class_logits).softmax(dim=-1)[..., :-1]


def sum_of_masks(masks: Tensor, probabilities: Tensor, *, size: Sequence[int]) -> Tensor:
    """Sum class probability times mask over the tokens.

    Args:
        masks: The masks (N, Q, h, w) before the sigmoid.
        probabilities: The probabilities (N, Q, K) of all classes or of a selection.
        size: The size (H, W) of the scores.

    Returns:
        The scores (N, K, H, W) in single precision and channels-last memory order.
    """
    # Channels-last order is kept up to the argmax, which reads all classes of a pixel.
    masks = channels_last(at_least_single(masks))
    masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False).sigmoid_().permute(0, 2, 3, 1)
    # Autocast would round the scores to half precision, in which classes tie.
    with torch.autocast(masks.device.type, enabled=False):
        return (masks.flatten(1, 2) @ probabilities).unflatten(1, masks.shape[1:3]).permute(0, 3, 1, 2)
