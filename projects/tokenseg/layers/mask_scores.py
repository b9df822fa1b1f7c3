"""The decision of methods whose tokens have a class and a mask each: one map of scores per class."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .single_precision import at_least_single


def class_scores(masks: Tensor, class_logits: Tensor, *, size: Sequence[int]) -> Tensor:
    """Score of class c at a pixel: the sum over tokens of the token's probability of c times its mask there.

    Masks are resized before the sigmoid, so that a border lies where the resized similarity is zero.

    Args:
        masks: (N, Q, h, w) before the sigmoid.
        class_logits: (N, Q, K+1), the last one 'no object', which has no score.
        size: (H, W) of the scores.

    Returns:
        (N, K, H, W) in single precision, the channels last in memory.
    """
    return sum_of_masks(masks, class_probabilities(class_logits), size=size)


def class_probabilities(class_logits: Tensor) -> Tensor:
    """The probabilities (N, Q, K) of the classes of tokens, of logits (N, Q, K+1) with 'no object' the last."""
    return at_least_single(class_logits).softmax(dim=-1)[..., :-1]


def sum_of_masks(masks: Tensor, probabilities: Tensor, *, size: Sequence[int]) -> Tensor:
    """The sum over tokens of probability times mask.

    Args:
        masks: (N, Q, h, w) before the sigmoid.
        probabilities: (N, Q, K), of all classes or of some.
        size: (H, W) of the scores.

    Returns:
        (N, K, H, W) in single precision, the channels last in memory.
    """
    # Channels last from here to the choice of the class, which reads all classes of a pixel.
    masks = at_least_single(masks).contiguous(memory_format=torch.channels_last)
    masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False).sigmoid_().permute(0, 2, 3, 1)
    # autocast would round the scores to its own precision, where classes tie
    with torch.autocast(masks.device.type, enabled=False):
        return (masks.flatten(1, 2) @ probabilities).unflatten(1, masks.shape[1:3]).permute(0, 3, 1, 2)
