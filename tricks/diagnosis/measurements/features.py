"""Whether the scales of the features suit gradient descent."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tricks import streams
from tricks.diagnosis.measurements import examples

_VALUES = 8_000_000  # Looked at: of wide features fewer examples.
_EXAMPLES = 5000
_COMMON = 0.95  # Share of the examples with one value, above which a feature says little.
_WIDEST = 5
_ITERATIONS = 100


def scales(features: Any, names: Sequence[str] = (), *, seed: int = 0) -> dict[str, Any]:
    """Measures how unlike the scales of the features are, in what makes gradient descent slow.

    The Hessian of a first layer is made of E[x x^T], offsets included: its largest eigenvalue bounds the learning rate,
    and a feature of variance v is then learned at a rate in proportion to v / largest. Features that are constant
    (`constant`), or but for 5 % of the examples (`rare_count`), as pixels at a border are, count in no ratio.

    Args:
        features: pytree of arrays (n, ...).
        names: of the columns, where there are any.
        seed: of the sample of examples.

    Returns:
        `scale_ratio` (largest standard deviation / smallest), `second_moment_ratio` (likewise of E[x_j^2]),
        `largest_offset` (largest |mean| / standard deviation), `condition` (largest eigenvalue of E[x x^T] / median
        variance), `condition_standardized` (that of the same features with mean 0 and deviation 1), `top_share`
        (largest eigenvalue / trace), `normalized`, `constant` with `constant_count`, `rare_count`, `dimensions`,
        `widest` ([name, deviation] of the 5 widest), `narrowest`, `non_finite`, `tokens` (arrays not judged). What
        cannot be judged is None.

    Source: LeCun, Bottou, Orr, Mueller, Efficient BackProp, 1998, section 4.3.

    >>> unlike = scales(np.random.default_rng(0).normal(size=(500, 2)) * [1, 100], ["size", "price"])
    >>> 90 < unlike["scale_ratio"] < 110, unlike["widest"][0][0], unlike["normalized"]
    (True, 'price', False)
    """
    rows = examples.rows_of(features, names)
    n, dimensions = rows.values.shape
    generator = streams.sample(seed, "features")
    found = {"dimensions": dimensions, "non_finite": rows.non_finite, "tokens": list(rows.tokens)}
    if n < 2 or dimensions == 0:
        return found | dict.fromkeys(_JUDGED)
    rows = examples.take(rows, examples.chosen(n, min(_EXAMPLES, max(_VALUES // dimensions, 200)), generator))
    mean, deviation = examples.moments(rows)
    constant = deviation == 0
    live = ~constant & ~_is_rare(rows.values)
    if not live.any():
        live = ~constant
    order = np.argsort(-deviation, kind="stable")
    found |= {
        "constant": [rows.names[place] for place in np.flatnonzero(constant)],
        "constant_count": int(constant.sum()),
        "rare_count": int((~constant & ~live).sum()),
        "widest": [[rows.names[place], float(deviation[place])] for place in order[:_WIDEST]],
        "normalized": _is_normalized(rows, mean, deviation, live),
    }
    if not live.any():
        return dict.fromkeys(_JUDGED) | found
    values, mean, deviation = rows.values[:, live], mean[live], deviation[live]
    second = mean**2 + deviation**2
    largest = _largest_eigenvalue(values, generator)
    standard = (values - mean.astype(np.float32)) / deviation.astype(np.float32)
    narrowest = np.flatnonzero(live)[np.argsort(deviation, kind="stable")[:_WIDEST]]
    return found | {
        "scale_ratio": float(deviation.max() / deviation.min()),
        "second_moment_ratio": float(second.max() / second.min()),
        "largest_offset": float((np.abs(mean) / deviation).max()),
        "condition": largest / float(np.median(deviation**2)),
        "condition_standardized": _largest_eigenvalue(standard, generator),
        "top_share": largest / float(second.sum()),
        "narrowest": [[rows.names[place], float(rows.values[:, place].std())] for place in narrowest],
    }


_JUDGED = (
    "scale_ratio",
    "second_moment_ratio",
    "largest_offset",
    "condition",
    "condition_standardized",
    "top_share",
    "normalized",
    "constant",
    "constant_count",
    "rare_count",
    "widest",
    "narrowest",
)


def _is_rare(values: np.ndarray) -> np.ndarray:
    """Which columns hold one value but for a few examples."""
    middle = np.median(values, axis=0)
    return (values == middle).mean(axis=0) > _COMMON


def _is_normalized(rows: examples.Rows, mean: np.ndarray, deviation: np.ndarray, live: np.ndarray) -> bool:
    """Whether the columns, or all positions of an array together, have a mean of about 0 and a deviation of about 1."""
    if not live.any():
        return False
    by_column = np.abs(mean[live]).max() < 0.25 and deviation[live].max() < 2 and np.median(deviation[live]) > 0.4
    if by_column or (rows.arrays < 0).any():
        return bool(by_column)
    arrays = [rows.arrays == array for array in np.unique(rows.arrays)]
    together = [(mean[own].mean(), np.sqrt(np.mean(deviation[own] ** 2 + mean[own] ** 2))) for own in arrays]
    return all(abs(offset) < 0.25 and 0.5 < size < 2 for offset, size in together)


def _largest_eigenvalue(values: np.ndarray, generator: np.random.Generator) -> float:
    """Of E[x x^T], by the power method."""
    # Of the smaller of X^T X and X X^T, which share it.
    gram = values @ values.T if len(values) < values.shape[1] else values.T @ values
    vector = generator.normal(size=len(gram)).astype(np.float32)
    size = 0.0
    for _ in range(_ITERATIONS):
        vector /= np.linalg.norm(vector)
        vector = gram @ vector
        before, size = size, float(np.linalg.norm(vector))
        if abs(size - before) < 1e-5 * size:
            break
    return size / len(values)
