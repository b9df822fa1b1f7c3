"""Inference policies: whole images, sliding windows, and averages over scales and flips of either."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.nn import functional as F

from ..layers.resize import resize, resize_one, zeros_like_map


@runtime_checkable
class Model(Protocol):
    """The interface of the segmentor that a policy needs."""

    def segment(self, images: list[Tensor]) -> Iterable[Tensor]:
        """Run images (3, h, w) as one batch and return the scores (K, h, w) of each."""

    def to_probabilities(self, scores: Tensor) -> Tensor:
        """Convert scores (N, K, h, w) to probabilities."""


class Policy(Protocol):
    """A function that runs the segmentor on images and returns scores at the wanted sizes."""

    def __call__(self, model: Model, images: list[Tensor], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        """
        Args:
            model: The segmentor.
            images: The normalised images, (3, h, w) each.
            output_sizes: The wanted (height, width) of each result.

        Returns:
            The scores (K, height, width) of each image.
        """


# A function that creates the normalised image (3, h, w) at a scale.
AtScale = Callable[[float], Tensor]


@runtime_checkable
class OverScales(Protocol):
    """A policy that needs images at several scales."""

    def over_scales(self, model: Model, images: Sequence[AtScale], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Run the policy; arguments and results as in `Policy`, but each image is a function of the scale."""


@runtime_checkable
class AveragesViews(Protocol):
    """A policy that treats classes independently.

    The score of a pixel is the mean over the views that cover it, and is then resized. The policy only calls `segment`
    of the model, and finishes the views of an image before those of the next.
    """

    def __call__(self, model: Model, images: list[Tensor], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        """See `Policy`."""

    def places(self, size: Sequence[int]) -> list[tuple[slice, slice]]:
        """Return the rows and columns of the views of an image of this (height, width), in the order of running."""


class WholeImage:
    """Runs every image as a whole; the images of a batch run together."""

    def places(self, size: Sequence[int]) -> list[tuple[slice, slice]]:
        """See `AveragesViews`."""
        return [(slice(0, size[0]), slice(0, size[1]))]

    def __call__(self, model: Model, images: list[Tensor], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        scores = model.segment(images)
        return [resize_one(score, size) for score, size in zip(scores, output_sizes, strict=True)]


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return the starts of windows that cover `length` >= `window` pixels; the last window ends at the border."""
    return [*range(0, length - window, stride), length - window]


class SlidingWindow:
    """Runs windows of a fixed size at a fixed stride and averages the scores where windows overlap.

    The windows of all images of a batch run together, `batch_size` at a time. Images smaller than the window are
    padded with the mean colour.
    """

    def __init__(self, *, window: int | Sequence[int], stride: int | Sequence[int], batch_size: int = 8) -> None:
        """
        Args:
            window: The (height, width) of a window in pixels of the network's input, or one number for a square;
                usually the training crop.
            stride: The (vertical, horizontal) step in pixels, or one number for both; at most the window.
            batch_size: The number of windows in a batch.
        """
        self.window, self.stride = ((x, x) if isinstance(x, int) else tuple(x) for x in (window, stride))
        self.batch_size = batch_size
        two_sides = len(self.window) == len(self.stride) == 2
        if (
            not two_sides
            or any(not 0 < s <= w for s, w in zip(self.stride, self.window, strict=True))
            or batch_size < 1
        ):
            raise ValueError(
                f"got window={self.window}, stride={self.stride}, batch_size={batch_size}; "
                "wanted two sides each, 0 < stride <= window, batch_size >= 1"
            )

    def __call__(self, model: Model, images: list[Tensor], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        padded = [self._pad(image) for image in images]
        places = [(i, rows, columns) for i, x in enumerate(images) for rows, columns in self.places(x.shape[-2:])]
        sums: dict[int, Tensor] = {}
        for start in range(0, len(places), self.batch_size):
            chunk = places[start : start + self.batch_size]
            crops = [padded[i][:, rows, columns] for i, rows, columns in chunk]
            for (i, rows, columns), score in zip(chunk, model.segment(crops), strict=True):
                if i not in sums:
                    sums[i] = zeros_like_map(score, padded[i].shape[-2:])
                sums[i][:, rows, columns] += score
        results = []
        for i, (image, size) in enumerate(zip(images, output_sizes, strict=True)):
            total = sums.pop(i)
            total /= self._counts(total)
            kept = total[:, : image.shape[-2], : image.shape[-1]]
            results.append(resize_one(kept, size))
        return results

    def _pad(self, image: Tensor) -> Tensor:
        bottom, right = (max(w - side, 0) for w, side in zip(self.window, image.shape[-2:], strict=True))
        return F.pad(image, (0, right, 0, bottom)) if bottom or right else image

    def places(self, size: Sequence[int]) -> list[tuple[slice, slice]]:
        """See `AveragesViews`; the window of an image smaller than itself also covers padding."""
        tops, lefts = (
            [slice(start, start + window) for start in window_starts(max(side, window), window, stride)]
            for side, window, stride in zip(size, self.window, self.stride, strict=True)
        )
        return [(rows, columns) for rows in tops for columns in lefts]

    def _counts(self, total: Tensor) -> Tensor:
        """Count the windows (H, W) over every pixel of a sum (K, H, W): a product, since the windows form a grid."""
        rows, columns = (total.new_zeros(side) for side in total.shape[-2:])
        for counts, window, stride in zip((rows, columns), self.window, self.stride, strict=True):
            for start in window_starts(len(counts), window, stride):
                counts[start : start + window] += 1
        return rows[:, None] * columns


class MultiScale:
    """Averages probabilities over scales, and optionally horizontal flips, each of which another policy runs.

    Scales are relative to the network's input. An image and its flip run as one batch. Scales are processed one after
    the other; the segmentor resizes the original image for each of them if it has one.
    """

    def __init__(self, *, policy: Policy, scales: Sequence[float], flip: bool) -> None:
        """
        Args:
            policy: The policy that runs each view.
            scales: The factors by which both sides of the image are multiplied.
            flip: Whether every scale also runs mirrored left to right.
        """
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales are {list(scales)}; wanted one or more, all above 0")
        self.policy, self.scales, self.flip = policy, tuple(scales), flip

    def __call__(self, model: Model, images: list[Tensor], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        return self.over_scales(model, [functools.partial(resized, image) for image in images], output_sizes)

    def over_scales(self, model: Model, images: Sequence[AtScale], output_sizes: list[tuple[int, int]]) -> list[Tensor]:
        return [self._one(model, image, size) for image, size in zip(images, output_sizes, strict=True)]

    def _one(self, model: Model, at_scale: AtScale, output_size: tuple[int, int]) -> Tensor:
        total: Tensor | None = None
        for scale in self.scales:
            view = at_scale(scale)
            views = [view, view.flip(-1)] if self.flip else [view]
            scores = self.policy(model, views, [output_size] * len(views))
            for mirrored, score in enumerate(scores):
                probabilities = model.to_probabilities(score[None])[0]
                probabilities = probabilities.flip(-1) if mirrored else probabilities
                total = probabilities if total is None else total.add_(probabilities)
        assert total is not None  # there are scales
        return total / (len(self.scales) * (2 if self.flip else 1))


def resized(image: Tensor, scale: float) -> Tensor:
    """Multiply the sides of an image (3, h, w) by a scale."""
    return resize(image[None], [max(1, round(side * scale)) for side in image.shape[-2:]])[0]
