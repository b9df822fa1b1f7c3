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
        (N, K, H, W) in single precision.
    """
    masks = F.interpolate(at_least_single(masks), size=tuple(size), mode="bilinear", align_corners=False).sigmoid_()
    probabilities = at_least_single(class_logits).softmax(dim=-1)[..., :-1]
    # autocast would round the scores to its own precision, where classes tie
    with torch.autocast(masks.device.type, enabled=False):
        return (probabilities.transpose(1, 2) @ masks.flatten(2)).unflatten(2, masks.shape[-2:])
