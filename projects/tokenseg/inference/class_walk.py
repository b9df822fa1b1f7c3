"""Class ids without the scores of all classes: a walk over the classes that ends when no other can win anywhere.

The walk takes a few classes at a time, those first that win most cells of the head's own small maps. Of each few the
policy makes full scores, as it does of all classes, and a running best is kept. A bound tells how high the classes that
are left can be at most: where the best is above it, the pixel is decided. The few pixels where it is not are computed
in full, all classes of them. So the ids are those of the highest of all scores.

Letters: K classes, k of them, H x W the output in pixels, n pixels.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..layers.bilinear_taps import resized_at
from .coarse_views import View
from .policy import AveragesViews

# Classes are taken in multiples of the first number, see `_Walk._chunk`, the second such a number at most at a time.
_LANES, _MOST = 16, 3
# Up to which share of the pixels they are computed in full, and how many of them at a time.
_FEW, _PIXELS = 1 / 32, 8192
# By how much of the largest score two ways to compute one may differ.
_ROUNDING = 1e-5


class GivesViews(Protocol):
    """What the walk asks of the segmentor."""

    def views(self, images: list[Tensor]) -> list[View]:
        """(3, h, w) images, run as one batch."""


class Best(NamedTuple):
    """The best class of each pixel among those that were there."""

    scores: Tensor  # (H, W)
    ids: Tensor  # (H, W) int64


def ids_by_classes(
    model: GivesViews, policy: AveragesViews, images: list[Tensor], output_sizes: list[tuple[int, int]]
) -> list[Tensor]:
    """The class of each pixel.

    Args:
        model: The segmentor.
        policy: How the images are cut into views.
        images: The images, normalised, (3, h, w) each.
        output_sizes: The (height, width) that is wanted of each result.

    Returns:
        (height, width) int64 of each image.
    """
    recorder = _Recorder(model)
    policy(recorder, images, output_sizes)
    views, found = iter(recorder.views), []
    for image, size in zip(images, output_sizes, strict=True):
        places = policy.places(tuple(image.shape[-2:]))
        own = [next(views) for _ in places]
        found.append(_Walk(policy, own, image, size).ids())
    return found


class _Recorder:
    """A segmentor to a policy, which runs the images and keeps their views; the policy gets zeros."""

    def __init__(self, model: GivesViews) -> None:
        self.model = model
        self.views: list[View] = []

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        self.views += self.model.views(images)
        return [image.new_zeros(1, 1, 1).expand(1, *image.shape[-2:]) for image in images]

    def to_probabilities(self, scores: Tensor) -> Tensor:
        return scores


class _Replay:
    """A segmentor to a policy, which has run already: a map made of each view, in the order in which they ran."""

    def __init__(self, views: Sequence[View], make: Callable[[View], Tensor]) -> None:
        self.views, self.make = iter(views), make

    def segment(self, images: list[Tensor]) -> Iterator[Tensor]:
        """One at a time, so that the policy can add it up before the next is made."""
        return (self.make(next(self.views)) for _ in images)

    def to_probabilities(self, scores: Tensor) -> Tensor:
        return scores


class _Walk:
    """The walk for one image."""

    def __init__(self, policy: AveragesViews, views: list[View], image: Tensor, size: tuple[int, int]) -> None:
        self.policy, self.views, self.image, self.size = policy, views, image, size
        self.num_classes, self.device = views[0].num_classes, views[0].device

    def ids(self) -> Tensor:
        """The class of each pixel, (H, W)."""
        wins = functools.reduce(torch.add, [view.wins() for view in self.views])
        peaks = torch.stack([view.peaks() for view in self.views]).amax(dim=0)
        by_peak = peaks.argsort(descending=True, stable=True)
        order = by_peak[wins[by_peak].argsort(descending=True, stable=True)].tolist()
        winners = set((wins > 0).nonzero()[:, 0].tolist())
        best: Best | None = None
        while order:
            chunk, order = self._chunk(order, len(winners & set(order)) or len(order))
            best = self._better(best, chunk)
            if not order or winners & set(order):
                continue
            order = self._open(best, order, peaks)
            if not order:
                break
            open_pixels = self._undecided(best, order)
            if not len(open_pixels):
                break
            if len(open_pixels) <= _FEW * best.ids.numel():
                best.ids[tuple(open_pixels.T)] = self._in_full(*open_pixels.T)
                break
        assert best is not None  # there are classes
        return best.ids

    def _chunk(self, order: list[int], wanted: int) -> tuple[list[int], list[int]]:
        """The next classes in rising order, as many as are wanted or a part of them, and those after them.

        The last channels of a map, beyond a multiple of the CPU's vector, are computed by other instructions, which
        round differently. So that the scores are those of all classes to the last bit, the same classes end each chunk.
        """
        tail = self.num_classes - self.num_classes % _LANES
        lanes = min(-(-wanted // _LANES), _MOST) * _LANES
        first, rest = [c for c in order if c < tail][:lanes], set(order)
        # fill up by classes that have had their turn
        first += [c for c in range(tail) if c not in rest][: -len(first) % _LANES]
        chunk = sorted(first) + list(range(tail, self.num_classes))
        return chunk, [c for c in order if c not in set(chunk)]

    def _better(self, best: Best | None, chunk: list[int]) -> Best:
        """The best of what was best and of some classes, in rising order; among equals the first class, as in `max`."""
        classes = torch.tensor(chunk, device=self.device)
        scores, places = self._run(lambda view: view.planes(classes)).max(dim=0)
        ids = classes[places]
        if best is None:
            return Best(scores, ids)
        wins = (scores > best.scores) | ((scores == best.scores) & (ids < best.ids))
        return Best(torch.where(wins, scores, best.scores), torch.where(wins, ids, best.ids))

    def _run(self, make: Callable[[View], Tensor]) -> Tensor:
        """What the policy makes of maps of the views, (k, H, W)."""
        return self.policy(_Replay(self.views, make), [self.image], [self.size])[0]

    def _open(self, best: Best, order: list[int], peaks: Tensor) -> list[int]:
        """Which of the classes that are left may win somewhere."""
        least = best.scores.amin()
        may = peaks >= least - _ROUNDING * torch.maximum(least.abs(), peaks.abs().amax())
        return [c for c, open_yet in zip(order, may[order].tolist(), strict=True) if open_yet]

    def _undecided(self, best: Best, order: list[int]) -> Tensor:
        """Rows and columns (n, 2) of the pixels that a class that is left may win."""
        left = torch.tensor(order, device=self.device)
        bound = self._run(lambda view: view.bound(left))[0]
        margin = _ROUNDING * torch.maximum(best.scores.abs().amax(), bound.abs().amax())
        return (best.scores <= bound + margin).nonzero()

    def _in_full(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The classes (n,) of some pixels, of all their scores."""
        size, parts = tuple(self.image.shape[-2:]), zip(rows.split(_PIXELS), columns.split(_PIXELS), strict=True)
        found = [resized_at(self._mean_of_views, size, self.size, *part).max(dim=1).indices for part in parts]
        return torch.cat(found)

    def _mean_of_views(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The scores (n, K) of pixels of the image as the network has it."""
        total = torch.zeros(len(rows), self.num_classes, device=self.device)
        count = torch.zeros(len(rows), 1, device=self.device)
        for view, (down, across) in zip(self.views, self.policy.places(tuple(self.image.shape[-2:])), strict=True):
            inside = (rows >= down.start) & (rows < down.stop) & (columns >= across.start) & (columns < across.stop)
            total[inside] += view.at(rows[inside] - down.start, columns[inside] - across.start)
            count[inside] += 1
        return total / count
