"""What a sweep says of its factors: intervals over seeds, and how much of the differences each explains."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

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
    return Interval(float(finite.mean()), float(special.stdtrit(len(finite) - 1, 0.975)) * spread, len(finite))


def explained(factors: Mapping[str, Sequence[Any]], values: Sequence[Sequence[float]]) -> dict[str, float]:
    """The share of the variance of the ranks of all results that each factor explains by itself, and that of seeds.

    Of the means over seeds epsilon^2 = (S_between - (k - 1) S_within / (n - k)) / S_total, at least 0, over the k
    values of a factor and n settings: what chance would give is taken off. It is multiplied by the share that lies
    between settings; the rest, between the seeds of one setting, is that of `seed`. Ranks, because one result of 10^8
    would be all of the variance; results that are not finite share the last rank. A number of many values is cut into
    five parts of equal size. Shares of factors that were drawn at random may add up to more than 1, those of a grid do
    not.

    Args:
        factors: for each its value in every setting.
        values: for every setting the result of each seed, the lower the better.

    Returns:
        A share from 0 to 1 for each factor and `seed`; NaN where all results are alike, or a factor has one value, or
        of several one that has as many as there are settings.

    >>> explained({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}, [[1.0], [1.0], [2.0], [2.0]])
    {'a': 1.0, 'b': 0.0, 'seed': nan}

    Source: Kelley 1935, An unbiased correlation ratio measure, PNAS 21.
    """
    flat = [value if math.isfinite(value) else math.inf for of_setting in values for value in of_setting]
    ranks = np.split(_ranks(flat), np.cumsum([len(of_setting) for of_setting in values])[:-1])
    total = float(np.var(np.concatenate(ranks)))
    within = float(np.mean([((own - own.mean()) ** 2).sum() for own in ranks])) * len(ranks) / len(flat)
    means = np.array([own.mean() for own in ranks])
    if total == 0:
        return dict.fromkeys((*factors, "seed"), math.nan)
    found = {name: _epsilon_squared(_levels(column), means) * (1 - within / total) for name, column in factors.items()}
    if len(factors) == 1:
        # A value in each setting: all that is not due to seeds is due to it.
        (name, column), counts = next(iter(factors.items())), [len(own) for own in ranks]
        levels = [level for level, count in zip(_levels(column), counts, strict=True) for _ in range(count)]
        found[name] = _epsilon_squared(levels, np.concatenate(ranks))
    return found | {"seed": within / total if any(len(own) > 1 for own in ranks) else math.nan}


def _ranks(values: Sequence[float]) -> np.ndarray:
    """From 1; equal values share the mean of theirs.

    >>> _ranks([5.0, 1.0, 5.0]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


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
