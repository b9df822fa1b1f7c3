from collections import Counter
from itertools import chain

import numpy as np
import pytest

from tokenseg.data.epochs import GroupedEpochs, ShuffledEpochs

FACTORS = [1, 1.5, 2.3, 1.2, 3]  # their sum is 9


def taken(order, start, count):
    return [order[position] for position in range(start, start + count)]


def grouped(sizes, batch_size):
    """The order of groups of the given sizes, whose records are 0, 1, ...; 100, 101, ...; and so on."""
    groups = [ShuffledEpochs(np.arange(n) + 100 * g, entropy=[5, 3, g]) for g, n in enumerate(sizes)]
    return GroupedEpochs(groups, batch_size=batch_size, entropy=[5, 4])


def plain_batches(sizes, batch_size, epochs):
    """The batches of `grouped`, from queues: every epoch appends to them and takes as many full batches as possible."""
    queues, batches = [[] for _ in sizes], []
    for epoch in range(epochs):
        for g, n in enumerate(sizes):
            queues[g] += (np.random.default_rng([5, 3, g, epoch]).permutation(n) + 100 * g).tolist()
        full = [g for g, queue in enumerate(queues) for _ in range(len(queue) // batch_size)]
        for g in np.random.default_rng([5, 4, epoch]).permutation(full).astype(int).tolist():
            batches.append(queues[g][:batch_size])
            del queues[g][:batch_size]
    return batches


def test_epochs_are_permutations_from_seed_and_epoch():
    order = ShuffledEpochs([7, 8, 9], entropy=[5])
    wanted = [np.random.default_rng([5, epoch]).permutation([7, 8, 9]).tolist() for epoch in range(4)]
    assert taken(order, 0, 12) == [*chain(*wanted)]
    assert taken(order, 3 * 10**9, 3) == np.random.default_rng([5, 10**9]).permutation([7, 8, 9]).tolist()


def test_repeats_are_rounded_down_or_up_and_right_on_average():
    order, total = ShuffledEpochs(range(5), entropy=[5], factors=FACTORS), Counter()
    assert order.length == 9
    for epoch in range(1500):
        counts = Counter(taken(order, 9 * epoch, 9))
        assert all(np.floor(factor) <= counts[i] <= np.ceil(factor) for i, factor in enumerate(FACTORS))
        total += counts
    assert [total[i] / 1500 for i in range(5)] == pytest.approx(FACTORS, abs=0.04)  # three standard deviations
    assert taken(order, 0, 9) != taken(order, 9, 9)


def test_an_epoch_lacks_less_than_one_of_what_the_factors_add_up_to():
    assert ShuffledEpochs(range(3), entropy=[5], factors=[1.3, 1.3, 1.3]).length == 3
    assert ShuffledEpochs(range(100), entropy=[5], factors=[1.1] * 100).length == 110  # 110.00000000000007 in floats


@pytest.mark.parametrize(("sizes", "batch_size"), [([10, 3], 4), ([1, 13], 8), ([6], 4), ([2, 3], 7), ([5, 7, 4], 1)])
def test_groups_fill_batches_in_turn(sizes, batch_size):
    wanted = plain_batches(sizes, batch_size, epochs=40)
    order = grouped(sizes, batch_size)
    assert taken(order, 0, len(wanted) * batch_size) == [*chain(*wanted)]
    for far in (len(wanted) - 1, len(wanted) // 2):  # from anywhere, in any order
        assert taken(grouped(sizes, batch_size), far * batch_size, batch_size) == wanted[far]


def test_groups_share_an_epoch_as_their_sizes_do():
    order = grouped([30, 10], 4)
    seen = Counter(taken(order, 5_000_000 - 5_000_000 % 40, 40 * 50))
    assert min(seen.values()) >= 49 and max(seen.values()) <= 51 and len(seen) == 40
