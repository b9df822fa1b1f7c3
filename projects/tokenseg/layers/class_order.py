"""The memory order of maps with one channel per class, and the softmax over classes that fits it."""

import torch
from torch import Tensor

# A CPU reads this many channels of a pixel at once in single precision. With fewer, torch falls back to single numbers.
_LANES = 16


def in_fastest_order(scores: Tensor) -> Tensor:
    """Return scores (N, K, h, w) in the memory order in which a softmax over the classes is fastest.

    This is channels-last, where the classes of a pixel are contiguous, unless a CPU has too few classes to fill a
    vector. It then computes the classes of many pixels at once, which takes planes.
    """
    planes = scores.device.type == "cpu" and scores.shape[1] < _LANES
    return scores.contiguous(memory_format=torch.contiguous_format if planes else torch.channels_last)


def is_channels_last(maps: Tensor) -> bool:
    """Whether the channels of each pixel of maps (N, C, h, w) are contiguous in memory."""
    return maps.stride(1) == 1


def class_softmax(scores: Tensor) -> Tensor:
    """Softmax over the classes of scores (N, K, h, w), which keeps their memory order.

    The plain `softmax(dim=1)` would copy channels-last scores into planes and back.
    """
    if not is_channels_last(scores) or scores.shape[1] < _LANES:
        return scores.softmax(dim=1)
    return scores.permute(0, 2, 3, 1).softmax(dim=-1).permute(0, 3, 1, 2)
