"""The order of records in an endless stream: shuffled epochs, with repeat factors and in groups.

The order of an epoch is a function of the entropy, which begins with the seed, and of the epoch's number. The start of
an epoch is computed by a formula, so that any position can be found without going through the epochs before it.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

# Fractions of repeat factors become whole numbers of such parts, since sums of floats would not end at a whole one; and
# sums of fractions that lack so little of a whole number, because they are floats, are taken for it.
_ONE, _ALMOST = 1 << 32, 1e-6


class ShuffledEpochs:
    """A sequence of epochs, each of which has the records in a new random order.

    With repeat factors, a record whose factor is 2.3 occurs two or three times in an epoch, three times with a
    probability of 0.3. The fractions are rounded by systematic sampling, so that all epochs have the same length: in a
    random order, the fractions lie end to end on a line, on which every whole number plus a random offset marks a
    record for one more occurrence. The line ends at a whole number, for which all fractions are scaled down: an epoch
    lacks less than one occurrence of what the factors add up to.

    Attributes:
        length: The number of positions in each epoch.
    """

    def __init__(
        self, indices: Sequence[int], *, entropy: Sequence[int], factors: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            indices: The records, one or more, by their places.
            entropy: The whole numbers, 0 or more, that the random numbers of all epochs follow from.
            factors: How often each record occurs in an epoch on average, 1 or more; None is once.
        """
        self._indices, self._entropy = np.asarray(indices), list(entropy)
        whole, fractions = np.divmod(np.ones(len(self._indices)) if factors is None else np.asarray(factors, float), 1)
        self._whole, self._fractions = whole.astype(np.int64), fractions
        self._extra = int(fractions.sum() + _ALMOST)
        self.length = int(self._whole.sum()) + self._extra
        self._epoch, self._order = -1, self._indices

    def __getitem__(self, position: int) -> int:
        """Return the record at `position` >= 0."""
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return int(self._order[place])

    def _shuffled(self, epoch: int) -> np.ndarray:
        generator = np.random.default_rng([*self._entropy, epoch])
        order = generator.permutation(len(self._indices))
        if self.length > len(order):
            counts = self._whole[order] + self._marked(self._fractions[order], offset=int(generator.integers(_ONE)))
            order = generator.permutation(np.repeat(order, counts))
        return self._indices[order]

    def _marked(self, fractions: np.ndarray, *, offset: int) -> np.ndarray:
        """Whether each fraction is rounded up: as many are as the fractions add up to."""
        if not self._extra:
            return np.zeros(len(fractions), dtype=np.int64)
        ends = np.cumsum(fractions)
        ends = np.rint(ends * (self._extra / ends[-1] * _ONE)).astype(np.int64)
        ends[-1] = self._extra * _ONE
        return np.diff((ends + offset) // _ONE, prepend=0)


class GroupedEpochs:
    """Batches whose records are of one group each, in a random order of the batches.

    A group goes through its own shuffled epochs, and gives an epoch of the whole as many batches as it can fill. What
    is left over, less than a batch, comes first in the group's part of the next epoch, so that no record is left out
    and no batch is mixed. A group of fewer records than a batch fills one every few epochs, with several copies of
    each.
    """

    def __init__(self, groups: Sequence[ShuffledEpochs], *, batch_size: int, entropy: Sequence[int]) -> None:
        """
        Args:
            groups: The epochs of each group, one or more.
            batch_size: The number of positions of a batch; batch b has those from b times as many.
            entropy: The whole numbers, 0 or more, that the order of the batches follows from.
        """
        self._groups, self._batch_size, self._entropy = list(groups), batch_size, list(entropy)
        self._batches = range(0)  # those of the epoch that `_group_of` and `_rank_of` are of
        self._group_of = self._rank_of = np.zeros(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        """Return the record at `position` >= 0."""
        batch, place = divmod(position, self._batch_size)
        if batch not in self._batches:
            self._turn_to(batch)
        here = batch - self._batches.start
        return self._groups[self._group_of[here]][int(self._rank_of[here]) * self._batch_size + place]

    def _ends(self, epochs: int) -> list[int]:
        """How many batches each group has filled after some epochs."""
        return [epochs * group.length // self._batch_size for group in self._groups]

    def _turn_to(self, batch: int) -> None:
        """Draw the epoch of a batch: each batch's group, and its rank among all batches of this group."""
        latest = (batch + len(self._groups)) * self._batch_size  # by then even one record has filled the batch
        epoch = bisect_right(range(latest + 1), batch, key=lambda epochs: sum(self._ends(epochs))) - 1
        first, last = self._ends(epoch), self._ends(epoch + 1)
        counts = np.subtract(last, first)
        generator = np.random.default_rng([*self._entropy, epoch])
        self._batches = range(sum(first), sum(last))
        self._group_of = generator.permutation(np.repeat(np.arange(len(counts)), counts))
        self._rank_of = np.zeros(len(self._group_of), dtype=np.int64)
        for group, (start, end) in enumerate(zip(first, last, strict=True)):
            self._rank_of[self._group_of == group] = np.arange(start, end)
