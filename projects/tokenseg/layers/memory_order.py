"""The memory order of maps, and the softmax over classes that fits it."""

import torch
from torch import Tensor

# A CPU reads this many channels of a pixel at once in single precision. With fewer, torch falls back to single numbers.
_LANES = 16


def channels_last(maps: Tensor) -> Tensor:
    """Return maps (N, C, h, w) in channels-last memory order, in which the channels of each pixel are contiguous.

    A single map may have any stride along its first dimension, which most functions of torch ignore. But for some
    strides, convolutions take the map for planes and return planes. The stride is therefore set to that of a batch.
    """
    maps = maps.contiguous(memory_format=torch.channels_last)
    # Unlike the shape, `len` is a plain number, which would fix the batch of an exported model.
    return maps if maps.shape[0] != 1 else maps[0].permute(1, 2, 0)[None].permute(0, 3, 1, 2)


def in_fastest_order(scores: Tensor) -> Tensor:
    """Return scores (N, K, h, w) in the memory order in which a softmax over the classes is fastest.

    This is channels-last, where the classes of a pixel are contiguous. On a CPU with too few classes to fill a vector
    it is planes, in which the softmax of many pixels is computed at once.
    """
    planes = scores.device.type == "cpu" and scores.shape[1] < _LANES
    return scores.contiguous() if planes else channels_last(scores)


def is_channels_last(maps: Tensor) -> bool:
    """Whether the channels of each pixel of maps (N, C, h, w) are contiguous in memory."""
    return maps.stride(1) == 1


def class_softmax(scores: Tensor) -> Tensor:
    """Softmax over the classes of scores (N, K, h, w).

    Scores of 16 or more classes stay channels-last if they are; the plain `softmax(dim=1)` would copy them into planes.
    """
    if not is_channels_last(scores) or scores.shape[1] < _LANES:
        return scores.softmax(dim=1)
    return scores.permute(0, 2, 3, 1).softmax(dim=-1).permute(0, 3, 1, 2)
