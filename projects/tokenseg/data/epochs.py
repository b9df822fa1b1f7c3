"""The order of records in an endless stream of shuffled epochs, optionally with repeat factors or in groups.

The order within an epoch depends only on the entropy, which begins with the seed, and on the number of the epoch. The
start of an epoch is computed by a formula, so any position can be found without iterating over the epochs before it.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

# The fractions of repeat factors are represented as integers in units of 1 / _ONE, since a sum of floats may miss the
# whole number at which it should end. A sum that is less than _ALMOST below a whole number is considered equal to it.
_ONE, _ALMOST = 1 << 32, 1e-6


class ShuffledEpochs:
    """An endless sequence of epochs, each of which contains the records in a new random order.

    With repeat factors, a record whose factor is 2.3 occurs two or three times in an epoch, three times with a
    probability of 0.3. The fractions are rounded by systematic sampling, so that all epochs have the same length. The
    fractions are placed end to end on a line in random order, and marks are set at a random offset plus every whole
    number. A record whose fraction contains a mark occurs once more. The fractions are first scaled down such that the
    line ends at a whole number, which makes an epoch shorter than the sum of the factors by less than one.

    Attributes:
        length: The number of positions in each epoch.
    """

    def __init__(
        self, indices: Sequence[int], *, entropy: Sequence[int], factors: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            indices: The indices of the records, at least one.
            entropy: The non-negative integers that seed the random numbers of all epochs.
            factors: The average number of occurrences of each record in an epoch, 1 or more; None means 1 for all.
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
        """Round each fraction to 0 or 1, such that the results sum to `_extra`."""
        if not self._extra:
            return np.zeros(len(fractions), dtype=np.int64)
        ends = np.cumsum(fractions)
        ends = np.rint(ends * (self._extra / ends[-1] * _ONE)).astype(np.int64)
        ends[-1] = self._extra * _ONE
        return np.diff((ends + offset) // _ONE, prepend=0)


class GroupedEpochs:
    """An endless sequence of batches in random order, where all records of a batch belong to the same group.

    Each group has its own shuffled epochs, and contributes to an epoch as many batches as it can fill. The remaining
    records, fewer than a batch, come first in the group's next batches, so no record is skipped and no batch is mixed.
    A group with fewer records than a batch fills one only every few epochs, with several copies of each record.
    """

    def __init__(self, groups: Sequence[ShuffledEpochs], *, batch_size: int, entropy: Sequence[int]) -> None:
        """
        Args:
            groups: The shuffled epochs of each group, at least one.
            batch_size: The number of positions in a batch; batch b begins at position b * batch_size.
            entropy: The non-negative integers that seed the order of the batches.
        """
        self._groups, self._batch_size, self._entropy = list(groups), batch_size, list(entropy)
        self._batches = range(0)  # the batches of the epoch that `_group_of` and `_rank_of` describe
        self._group_of = self._rank_of = np.zeros(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        """Return the record at `position` >= 0."""
        batch, place = divmod(position, self._batch_size)
        if batch not in self._batches:
            self._turn_to(batch)
        here = batch - self._batches.start
        return self._groups[self._group_of[here]][int(self._rank_of[here]) * self._batch_size + place]

    def _ends(self, epochs: int) -> list[int]:
        """Count the batches that each group has filled after a number of epochs."""
        return [epochs * group.length // self._batch_size for group in self._groups]

    def _turn_to(self, batch: int) -> None:
        """Draw the order of the epoch that contains a batch: the group of every batch, and its rank in this group.

        The rank of a batch counts the batches of its group in all epochs so far.
        """
        # An upper bound for the epoch: each epoch adds at least one record per group.
        latest = (batch + len(self._groups)) * self._batch_size
        epoch = bisect_right(range(latest + 1), batch, key=lambda epochs: sum(self._ends(epochs))) - 1
        first, last = self._ends(epoch), self._ends(epoch + 1)
        counts = np.subtract(last, first)
        generator = np.random.default_rng([*self._entropy, epoch])
        self._batches = range(sum(first), sum(last))
        self._group_of = generator.permutation(np.repeat(np.arange(len(counts)), counts))
        self._rank_of = np.zeros(len(self._group_of), dtype=np.int64)
        for group, (start, end) in enumerate(zip(first, last, strict=True)):
            self._rank_of[self._group_of == group] = np.arange(start, end)
