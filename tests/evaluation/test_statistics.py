import math

import numpy as np
import pytest
from scipy import stats

from counted_images import counted
from tokenseg.evaluation.image_counts import ImageCounts
from tokenseg.evaluation.statistics import Interval, bootstrap_over_images, mean_and_spread, paired_difference


def random_counts(seed, images=30, classes=4):
    """The counts of a model with random errors. The label maps are the same for all seeds."""
    labelled = np.random.default_rng(0).integers(1, 100, (images, classes))
    correct = (labelled * np.random.default_rng(seed).random((images, classes))).astype(int)
    return counted(correct, labelled[:, ::-1] + correct, labelled)


def test_mean_and_spread_by_hand():
    assert mean_and_spread([1, 2, 6]) == (3, pytest.approx(7**0.5))  # (4 + 1 + 9) / 2
    assert math.isnan(mean_and_spread([5])[1])


def test_a_paired_difference_by_hand():
    # differences 1, 2, 3: their spread is 1, and Student's t with 2 degrees of freedom leaves 2.5 % above 4.3027
    found = paired_difference({0: 10, 1: 30, 2: 20}, {2: 23, 0: 11, 1: 32})
    assert found == pytest.approx((2, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert found.verdict == "cannot be told"


def test_a_paired_difference_is_that_of_scipy():
    one, two = np.random.default_rng(0).normal(size=(2, 6))
    found = paired_difference(dict(enumerate(one)), dict(enumerate(two)), confidence=0.9)
    assert found[1:] == pytest.approx(stats.ttest_rel(two, one).confidence_interval(0.9))


def test_pairs_tell_what_the_groups_cannot():
    """Results vary by tens between seeds, but every pair differs by about one."""
    found = paired_difference({0: 10, 1: 40, 2: 70}, {0: 11, 1: 41.1, 2: 70.9})
    assert found.verdict == "above"
    assert paired_difference({0: 11, 1: 41.1, 2: 70.9}, {0: 10, 1: 40, 2: 70}).verdict == "below"


def test_one_seed_tells_nothing():
    assert paired_difference({7: 10}, {7: 90}) == (80, -math.inf, math.inf)


@pytest.mark.parametrize(("one", "other"), [({0: 1}, {0: 1, 2: 1}), ({0: 1, 2: 1}, {0: 1}), ({}, {})])
def test_a_missing_seed_is_told(one, other):
    with pytest.raises(ValueError, match=r"seeds are (0|0, 2|none) in the one group and (0|0, 2|none) in the other"):
        paired_difference(one, other)


def test_the_same_counts_differ_by_nothing():
    counts = random_counts(1)
    (own, none), (same, difference) = bootstrap_over_images([[counts], [counts]], resamples=200)
    assert difference == none == (0, 0, 0) and difference.verdict == "cannot be told"
    assert own == same and own.low < own.value < own.high


def test_the_bootstrap_agrees_with_scipys():
    one, two = random_counts(1), random_counts(2)

    def difference(places):
        parts = (np.bincount(places.astype(int), minlength=30) for _ in range(2))
        first, second = (counts.mean_iou(weights) for counts, weights in zip((one, two), parts, strict=True))
        return second - first

    theirs = stats.bootstrap(
        (np.arange(30),), difference, vectorized=False, n_resamples=1500, method="percentile", random_state=1
    ).confidence_interval
    _, (_, ours) = bootstrap_over_images([[one], [two]], resamples=4000)
    assert ours.value == pytest.approx(two.mean_iou() - one.mean_iou())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * (theirs.high - theirs.low))


def test_two_images_by_hand():
    """One model has IoU 0.5 and 1, the other has 0. Of the 4 draws of two images, the means are 50, 75, 75 and 100."""
    labelled = [[4], [4]]
    one, two = counted([[0], [0]], [[0], [0]], labelled), counted([[2], [4]], [[2], [4]], labelled)
    _, (interval, difference) = bootstrap_over_images([[one], [two]], resamples=2000, confidence=0.6)
    assert interval == difference == (75, 50, 100) and difference.verdict == "above"


def test_a_group_has_the_mean_of_its_runs():
    counts = [random_counts(seed) for seed in (1, 2, 3)]
    _, (group, _) = bootstrap_over_images([counts[:1], counts[1:]], resamples=50)
    assert group.value == pytest.approx((counts[1].mean_iou() + counts[2].mean_iou()) / 2)


def test_only_the_same_data_is_compared():
    one = counted([[1, 1], [1, 1]], [[1, 1], [1, 1]], [[2, 2], [2, 2]])
    fewer = counted([[1, 1]], [[1, 1]], [[2, 2]])
    labels = counted([[1, 1], [1, 1]], [[1, 1], [1, 1]], [[2, 2], [2, 3]])
    for other, message in (
        (fewer, "of 2 and 1 images"),
        (labels, r"differ, first b\.png"),
        (random_counts(0), "classes"),
    ):
        with pytest.raises(ValueError, match=message):
            bootstrap_over_images([[one], [other]])
    with pytest.raises(ValueError, match="of 0 and 0 images"):
        bootstrap_over_images([[ImageCounts.of_images([], ["a"])]])


def test_an_interval_that_touches_zero_tells_nothing():
    assert Interval(1, 0, 2).verdict == Interval(-1, -2, 0).verdict == "cannot be told"
