"""What a sweep says of its factors: intervals over seeds, and how much of the differences each explains."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

_BINS = 5  # Of a number that takes many values.


class Interval(NamedTuple):
    """A mean over seeds."""

    mean: float
    half_width: float
    """Of the 95 % interval by Student's t; NaN of one value."""
    finite: int
    """Values that were finite."""


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval, m -+ t s / sqrt(n), over the finite values.

    Args:
        values: of one setting, one for each seed.

    Returns:
        `Interval`; of NaN where nothing is finite.

    >>> mean, half_width, finite = interval([1.0, 2.0, 3.0])
    >>> mean, round(half_width, 3), finite
    (2.0, 2.484, 3)
    """
    finite = np.array([value for value in values if math.isfinite(value)])
    if len(finite) == 0:
        return Interval(math.nan, math.nan, 0)
    if len(finite) == 1:
        return Interval(float(finite[0]), math.nan, 1)
    spread = float(finite.std(ddof=1) / math.sqrt(len(finite)))
    return Interval(float(finite.mean()), float(stats.t.ppf(0.975, len(finite) - 1)) * spread, len(finite))


def explained(factors: Mapping[str, Sequence[Any]], values: Sequence[float]) -> dict[str, float]:
    """The share of the variance of the ranks of the results that each factor explains by itself.

    epsilon^2 = (S_between - (k - 1) S_within / (n - k)) / S_total, at least 0, of the k values of a factor: what chance
    would give is taken off. Ranks, because one result of 10^8 would be all of the variance; results that are not
    finite share the last rank. A number of many values is cut into five parts of equal size.

    Args:
        factors: for each its value in every lane.
        values: the result of every lane, the lower the better.

    Returns:
        A share from 0 to 1 for each factor; NaN where all results are alike or a factor has one value.

    >>> explained({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}, [1.0, 1.0, 2.0, 2.0])
    {'a': 1.0, 'b': 0.0}

    Source: Kelley 1935, An unbiased correlation ratio measure, PNAS 21.
    """
    ranks = stats.rankdata([value if math.isfinite(value) else math.inf for value in values])
    return {name: _epsilon_squared(_levels(column), ranks) for name, column in factors.items()}


def _epsilon_squared(levels: Sequence[Hashable], ranks: np.ndarray) -> float:
    total = float(((ranks - ranks.mean()) ** 2).sum())
    different = list(dict.fromkeys(levels))
    k, n = len(different), len(ranks)
    if total == 0 or k < 2 or n <= k:
        return math.nan
    within = 0.0
    for level in different:
        own = ranks[[one == level for one in levels]]
        within += float(((own - own.mean()) ** 2).sum())
    share = (total - within - (k - 1) * within / (n - k)) / total
    return min(max(share, 0.0), 1.0)


def _levels(column: Sequence[Any]) -> list[Hashable]:
    different = set(column)
    if len(different) <= 2 * _BINS or not all(isinstance(value, int | float) for value in different):
        return list(column)
    edges = np.quantile(np.array(column, float), np.linspace(0, 1, _BINS + 1)[1:-1])
    return [int(place) for place in np.searchsorted(edges, np.array(column, float), side="right")]
