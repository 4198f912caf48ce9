"""Effects with their intervals of 95 %, and the verdict that follows from one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from tricks.diagnosis.measurements.examples import wilson
from tricks.lectures.common.experiment import INCONCLUSIVE, REFUTED, SUPPORTED

_TAIL = 0.975


class Estimate(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high


def mean(values: Sequence[float]) -> Estimate:
    """The mean, by Student's t over independent values, such as those of seeds.

    Args:
        values: at least one; of one nothing is known of the spread.

    Returns:
        The mean and its interval.

    >>> [round(number, 3) for number in mean([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    array = np.asarray(values, np.float64)
    middle = float(np.mean(array))
    if len(array) < 2:
        return Estimate(middle, -math.inf, math.inf)
    half = float(stats.t.ppf(_TAIL, len(array) - 1) * np.std(array, ddof=1) / math.sqrt(len(array)))
    return Estimate(middle, middle - half, middle + half)


def difference(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """The mean of one - other, over pairs that have a seed in common.

    >>> difference([3.0, 4.0], [1.0, 2.0]).value
    2.0
    """
    return mean(np.subtract(one, other).tolist())


def ratio(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """The geometric mean of one / other, over pairs that have a seed in common; all are above 0.

    >>> round(ratio([2.0, 8.0], [1.0, 2.0]).value, 4)
    2.8284
    """
    logarithms = mean(np.log(np.divide(one, other)).tolist())
    with np.errstate(over="ignore"):
        return Estimate(*(float(np.exp(number)) for number in logarithms))


def share(hits: int, count: int) -> Estimate:
    """A share, by Wilson's interval.

    >>> [round(number, 3) for number in share(9, 10)]
    [0.9, 0.596, 0.982]
    """
    low, high = wilson(hits, count)
    value = hits / max(count, 1)
    # Of all and of none the end is the share itself, but for rounding.
    return Estimate(value, min(low, value), max(high, value))


def slope(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Of the straight line through points, by least squares and Student's t.

    >>> [round(number, 3) for number in slope([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])]
    [2.0, 2.0, 2.0]
    """
    found = stats.linregress(x, y)
    half = float(stats.t.ppf(_TAIL, len(x) - 2) * found.stderr)
    return Estimate(float(found.slope), float(found.slope) - half, float(found.slope) + half)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Spearman's rank correlation, its interval by Fisher's transformation (Bonett and Wright, 2000).

    >>> rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]).value > 0.8
    True
    """
    value = float(stats.spearmanr(x, y).statistic)
    half = float(stats.norm.ppf(_TAIL)) * math.sqrt((1 + value**2 / 2) / max(len(x) - 3, 1))
    middle = math.atanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    return Estimate(value, math.tanh(middle - half), math.tanh(middle + half))


def decide(estimate: Estimate, threshold: float, *, above: bool = True) -> str:
    """The verdict on the claim that an effect is above a threshold, or below it.

    Args:
        estimate: of the effect.
        threshold: that it is to pass.
        above: or below, if false.

    Returns:
        `supported` where all of the interval is beyond the threshold, `refuted` where none of it is, else
        `inconclusive`.

    >>> decide(Estimate(2.0, 1.5, 2.5), 1.0), decide(Estimate(2.0, 0.5, 3.5), 1.0), decide(Estimate(0.5, 0.2, 0.8), 1.0)
    ('supported', 'inconclusive', 'refuted')
    """
    low, high = estimate.interval if above else (-estimate.high, -estimate.low)
    at = threshold if above else -threshold
    if not math.isfinite(estimate.value):
        return INCONCLUSIVE
    if low > at:
        return SUPPORTED
    return REFUTED if high <= at else INCONCLUSIVE


def all_of(verdicts: Sequence[str]) -> str:
    """The verdict on a claim of several parts: supported if all are, refuted if one is.

    >>> all_of(["supported", "inconclusive"]), all_of(["inconclusive", "refuted"])
    ('inconclusive', 'refuted')
    """
    if REFUTED in verdicts:
        return REFUTED
    return INCONCLUSIVE if INCONCLUSIVE in verdicts else SUPPORTED
