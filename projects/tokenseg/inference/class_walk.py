"""Exact class ids without the scores of all classes: classes are visited until none of the others can win anywhere.

The walk visits a few classes at a time, beginning with those that win most cells of the head's low-resolution maps. The
policy computes the full-size scores of these classes, and a running maximum is kept. An upper bound on the scores of
the remaining classes is compared with it: a pixel is decided if its maximum exceeds the bound. For the few undecided
pixels, the scores of all classes are computed. The ids are therefore those of the highest of all scores.

Letters: K classes, k a selection of them, H x W the output in pixels, n pixels.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..layers.bilinear_taps import resized_at
from .coarse_views import View
from .policy import AveragesViews

# Classes are visited in multiples of `_LANES`, see `_Walk._chunk`, and at most `_MOST` such multiples at a time.
_LANES, _MOST = 16, 3
# The largest share of undecided pixels for which all classes are computed, and the number of pixels at a time.
_FEW, _PIXELS = 1 / 32, 8192
# The tolerance for differences between two ways to compute a score, relative to the largest score.
_ROUNDING = 1e-5


class GivesViews(Protocol):
    """The interface of the segmentor that the walk needs."""

    def views(self, images: list[Tensor]) -> list[View]:
        """Run images (3, h, w) as one batch and return their views."""


class Best(NamedTuple):
    """The best class of each pixel among the classes visited so far."""

    scores: Tensor  # (H, W)
    ids: Tensor  # (H, W) int64


def ids_by_classes(
    model: GivesViews, policy: AveragesViews, images: list[Tensor], output_sizes: list[tuple[int, int]]
) -> list[Tensor]:
    """Predict the class of each pixel.

    Args:
        model: The segmentor.
        policy: The policy that cuts the images into views.
        images: The normalised images, (3, h, w) each.
        output_sizes: The wanted (height, width) of each result.

    Returns:
        The class ids (height, width) int64 of each image.
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
    """Acts as the segmentor for a policy: runs the images and records their views, and returns zeros to the policy."""

    def __init__(self, model: GivesViews) -> None:
        self.model = model
        self.views: list[View] = []

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        self.views += self.model.views(images)
        return [image.new_zeros(1, 1, 1).expand(1, *image.shape[-2:]) for image in images]

    def to_probabilities(self, scores: Tensor) -> Tensor:
        return scores


class _Replay:
    """Acts as the segmentor for a policy: returns a map of each recorded view, in the order of recording."""

    def __init__(self, views: Sequence[View], make: Callable[[View], Tensor]) -> None:
        self.views, self.make = iter(views), make

    def segment(self, images: list[Tensor]) -> Iterator[Tensor]:
        """Yield one map at a time, so that the policy can accumulate it before the next one is computed."""
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
        """Return the next classes in ascending order, at most `wanted`, and the classes that remain after them.

        The CPU computes the last channels of a map, those beyond a multiple of its vector length, with different
        instructions, which round differently. To keep the scores bitwise equal to those of all classes, every chunk
        ends with the same classes.
        """
        tail = self.num_classes - self.num_classes % _LANES
        lanes = min(-(-wanted // _LANES), _MOST) * _LANES
        first, rest = [c for c in order if c < tail][:lanes], set(order)
        # Fill the chunk up with classes that have been visited already.
        first += [c for c in range(tail) if c not in rest][: -len(first) % _LANES]
        chunk = sorted(first) + list(range(tail, self.num_classes))
        return chunk, [c for c in order if c not in set(chunk)]

    def _better(self, best: Best | None, chunk: list[int]) -> Best:
        """Update the maximum with some classes, in ascending order; ties go to the lowest class id, as in `max`."""
        classes = torch.tensor(chunk, device=self.device)
        scores, places = self._run(lambda view: view.planes(classes)).max(dim=0)
        ids = classes[places]
        if best is None:
            return Best(scores, ids)
        wins = (scores > best.scores) | ((scores == best.scores) & (ids < best.ids))
        return Best(torch.where(wins, scores, best.scores), torch.where(wins, ids, best.ids))

    def _run(self, make: Callable[[View], Tensor]) -> Tensor:
        """Let the policy combine maps of the views to one map (k, H, W)."""
        return self.policy(_Replay(self.views, make), [self.image], [self.size])[0]

    def _open(self, best: Best, order: list[int], peaks: Tensor) -> list[int]:
        """Find the remaining classes that may still win somewhere."""
        least = best.scores.amin()
        may = peaks >= least - _ROUNDING * torch.maximum(least.abs(), peaks.abs().amax())
        return [c for c, open_yet in zip(order, may[order].tolist(), strict=True) if open_yet]

    def _undecided(self, best: Best, order: list[int]) -> Tensor:
        """Find the pixels that a remaining class may still win, as rows and columns (n, 2)."""
        left = torch.tensor(order, device=self.device)
        bound = self._run(lambda view: view.bound(left))[0]
        margin = _ROUNDING * torch.maximum(best.scores.abs().amax(), bound.abs().amax())
        return (best.scores <= bound + margin).nonzero()

    def _in_full(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Predict the classes (n,) of some pixels from the scores of all classes."""
        size, parts = tuple(self.image.shape[-2:]), zip(rows.split(_PIXELS), columns.split(_PIXELS), strict=True)
        found = [resized_at(self._mean_of_views, size, self.size, *part).max(dim=1).indices for part in parts]
        return torch.cat(found)

    def _mean_of_views(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Average the scores (n, K) of pixels over the views, at the resolution of the network's input."""
        total = torch.zeros(len(rows), self.num_classes, device=self.device)
        count = torch.zeros(len(rows), 1, device=self.device)
        for view, (down, across) in zip(self.views, self.policy.places(tuple(self.image.shape[-2:])), strict=True):
            inside = (rows >= down.start) & (rows < down.stop) & (columns >= across.start) & (columns < across.stop)
            total[inside] += view.at(rows[inside] - down.start, columns[inside] - across.start)
            count[inside] += 1
        return total / count
