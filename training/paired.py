"""Statistics of two networks on the same images: the difference of their accuracies."""

import math
from typing import NamedTuple

import numpy as np

from training import outcomes


class Pairs(NamedTuple):
    """How many images which of two networks classified correctly."""

    both: int
    first: int  # only the first of them
    second: int
    neither: int

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(self)

    @property
    def difference(self) -> float:
        """The first one's accuracy minus the second one's."""
        return (self.first - self.second) / self.total


def count(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Pairs:
    """Returns the counts, for labels and predictions, integers [n] each."""
    is_first, is_second = first == labels, second == labels
    kinds = (
        is_first & is_second,
        is_first & ~is_second,
        ~is_first & is_second,
        ~is_first & ~is_second,
    )
    return Pairs(*(int(np.sum(kind)) for kind in kinds))


def interval(pairs: Pairs) -> tuple[float, float]:
    """Returns the 95 % confidence interval of the difference, for images drawn at random.

    Newcombe's method 10: both Wilson intervals, joined with regard to the correlation (Improved
    confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17, 1998). Unlike the textbook's interval, it remains valid if the
    accuracies are near 1 or the networks rarely disagree.
    """
    right = pairs.both + pairs.first, pairs.both + pairs.second
    accuracies = [correct / pairs.total for correct in right]
    (low, high), (other_low, other_high) = (outcomes.interval(n, pairs.total) for n in right)
    correlation = _correlation(pairs)

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))

    below = distance(accuracies[0] - low, other_high - accuracies[1])
    above = distance(high - accuracies[0], accuracies[1] - other_low)
    # Cut off, as Newcombe does: the joined interval may exceed what is possible.
    return max(pairs.difference - below, -1.0), min(pairs.difference + above, 1.0)


def _correlation(pairs: Pairs) -> float:
    """Returns the phi coefficient, corrected for continuity if it is above 0."""
    both, first, second, neither = pairs
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    if not product:
        return 0.0
    covariance: float = both * neither - first * second
    if covariance > 0:
        covariance = max(covariance - pairs.total / 2, 0)
    return covariance / math.sqrt(product)


def p_value(pairs: Pairs) -> float:
    """Returns the two-sided p-value of equal accuracies: McNemar's test, exact.

    Of the images that one of two equal networks classifies correctly, each is as likely to be the
    one's as the other's (McNemar, Psychometrika 12, 1947).
    """
    unequal, fewer = pairs.first + pairs.second, min(pairs.first, pairs.second)
    ways, term = 0, 1
    for successes in range(fewer + 1):
        ways += term
        term = term * (unequal - successes) // (successes + 1)
    return min(1.0, 2 * ways / 2**unequal)
