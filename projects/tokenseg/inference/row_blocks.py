"""Sliding windows over an image that does not fit into memory: scores are held for one row of windows at a time."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.resize import zeros_like_map
from .policy import Model, SlidingWindow, window_starts

# A function that reads rows and columns of an image, normalised, as (C, h, w).
ReadWindow = Callable[[slice, slice], Tensor]


def scores_by_blocks(
    model: Model, read: ReadWindow, size: tuple[int, int], *, policy: SlidingWindow, columns: int = 4096
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the scores of an image block by block; together they equal those of the policy on the whole image.

    The image is cut into strips from top to bottom. Windows that lie across the border of two strips run in both.

    Args:
        model: The segmentor.
        read: The function that reads a part of the image.
        size: The (height, width) of the image in pixels.
        policy: The sliding window.
        columns: The width of a strip in pixels. At any time, scores are held for a part of this width and the height of
            a window.

    Yields:
        The rows and columns of a block, and its scores (K, h, w); every pixel is in exactly one block.
    """
    lengths = [max(pair) for pair in zip(size, policy.window, strict=True)]
    starts = [window_starts(*each) for each in zip(lengths, policy.window, policy.stride, strict=True)]
    counts = [_cover(*each) for each in zip(lengths, starts, policy.window, strict=True)]
    for first in range(0, size[1], columns):
        strip = slice(first, min(first + columns, size[1]))
        lefts = [left for left in starts[1] if left < strip.stop and left + policy.window[1] > strip.start]
        total = None
        for top, following in zip(starts[0], [*starts[0][1:], lengths[0]], strict=True):
            total = _add_row(model, read, size, total, policy=policy, top=top, lefts=lefts, strip=strip)
            done = following - top  # the next row of windows no longer changes the scores of these rows
            rows = slice(top, min(following, size[0]))
            kept = total[:, : rows.stop - rows.start]
            covered = counts[0][rows, None] * counts[1][None, strip]
            yield rows, strip, kept / covered.to(kept.device)
            total = F.pad(total[:, done:], (0, 0, 0, done))


def _add_row(
    model: Model,
    read: ReadWindow,
    size: tuple[int, int],
    total: Tensor | None,
    *,
    policy: SlidingWindow,
    top: int,
    lefts: list[int],
    strip: slice,
) -> Tensor:
    """Add the scores of a row of windows to the sums (K, window height, strip width) that begin at row `top`."""
    height, width = policy.window
    bottom, right = min(top + height, size[0]), min(lefts[-1] + width, size[1])
    pixels = read(slice(top, bottom), slice(lefts[0], right))
    pixels = F.pad(pixels, (0, lefts[-1] + width - right, 0, top + height - bottom))
    for start in range(0, len(lefts), policy.batch_size):
        chunk = lefts[start : start + policy.batch_size]
        crops = [pixels[:, :, left - lefts[0] : left - lefts[0] + width] for left in chunk]
        for left, score in zip(chunk, model.segment(crops), strict=True):
            if total is None:
                total = zeros_like_map(score, (height, strip.stop - strip.start))
            begin, end = max(left, strip.start), min(left + width, strip.stop)
            total[:, :, begin - strip.start : end - strip.start] += score[:, :, begin - left : end - left]
    assert total is not None  # a row has windows
    return total


def _cover(length: int, starts: list[int], window: int) -> Tensor:
    """Count the windows over each position along one side."""
    counts = torch.zeros(length)
    for start in starts:
        counts[start : start + window] += 1
    return counts
