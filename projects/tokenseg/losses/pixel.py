"""Losses over pixels."""

import torch
from detectron2.utils import comm
from torch import Tensor
from torch.nn import functional as F


def mean_over_ranks(count: Tensor) -> Tensor:
    """A count averaged over all processes: what a sum is divided by so that DDP's mean of the ranks' gradients is
    that of one process with the whole batch, however unevenly the ranks' counts are spread."""
    count = count.float()
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(count)
    return count / comm.get_world_size()


def pixel_cross_entropy(logits: Tensor, targets: Tensor, *, ignore_value: int) -> Tensor:
    """Cross entropy averaged over the valid pixels of all ranks; zero, with gradients, where there is none.

    Args:
        logits: (N, K, h, w), resized bilinearly to the targets' size.
        targets: (N, H, W) class ids or `ignore_value`.
        ignore_value: label of pixels that do not count.
    """
    # With the classes of a pixel in a row, neither softmax nor its gradient copies the map at the targets' size.
    logits = logits.float().contiguous(memory_format=torch.channels_last)
    if logits.shape[-2:] != targets.shape[-2:]:
        logits = F.interpolate(logits, size=targets.shape[-2:], mode="bilinear", align_corners=False)
    pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)
    # not detectron2.layers.cross_entropy: version 0.5 drops its `reduction`
    total = F.cross_entropy(pixels, targets.flatten(), ignore_index=ignore_value, reduction="sum")
    return total / mean_over_ranks((targets != ignore_value).sum()).clamp(min=1e-6)
