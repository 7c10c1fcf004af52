"""The statistics of two networks on the same images, against published examples."""

import numpy as np
import pytest

from training import outcomes, paired
from training.paired import Pairs

# Complete response to therapy (Cavo et al. 2012), as analysed in Fagerland, Lydersen and Laake,
# Statistical Analysis of Contingency Tables (2017), chapter 8; the figures are those of the book's
# R package, contingencytables.
CAVO = Pairs(59, 6, 16, 80)


def test_the_interval_of_a_difference_is_newcombes():
    assert paired.interval(CAVO) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    swapped = Pairs(CAVO.both, CAVO.second, CAVO.first, CAVO.neither)
    assert paired.interval(swapped) == pytest.approx((0.0046, 0.1186), abs=5e-5)


@pytest.mark.parametrize(
    "pairs", [Pairs(100, 0, 0, 0), Pairs(0, 0, 0, 100), Pairs(0, 100, 0, 0), Pairs(0, 50, 50, 0)]
)
def test_at_the_ends_the_interval_is_neither_empty_nor_beyond_them(pairs):
    low, high = paired.interval(pairs)
    assert -1 <= low <= pairs.difference <= high <= 1
    assert high - low > 0.01


def test_pairs_tell_a_difference_that_two_intervals_do_not():
    pairs = Pairs(9850, 60, 20, 70)
    first, second = (outcomes.interval(n, 10_000) for n in (9910, 9870))
    assert first[0] < second[1], "they overlap"
    assert paired.interval(pairs)[0] > 0.002
    assert paired.p_value(pairs) < 1e-4


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        # Armitage and Berry, Statistical Methods in Medical Research, 1994: two culture media.
        (12, 2, 0.0129),
        (CAVO.first, CAVO.second, 0.052479),
        (1, 7, 2 * (1 + 8) / 2**8),
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 1, 1.0),
        (0, 6, 2 / 2**6),
    ],
)
def test_mcnemars_test_is_exact(first, second, p_value):
    for pairs in (Pairs(20, first, second, 16), Pairs(9000, second, first, 0)):
        assert paired.p_value(pairs) == pytest.approx(p_value, abs=5e-5)


def test_thousands_of_disagreements_overflow_nothing():
    assert paired.p_value(Pairs(50_000, 4700, 5300, 0)) == pytest.approx(2.08e-9, rel=0.01)
    assert paired.p_value(Pairs(0, 0, 60_000, 0)) == 0.0


def test_counts_are_of_images():
    labels = np.array([0, 1, 2, 3, 4])
    counted = paired.count(labels, np.array([0, 1, 9, 3, 9]), np.array([0, 9, 2, 3, 8]))
    assert counted == Pairs(2, 1, 1, 1)
    assert counted.total == 5 and counted.difference == 0
