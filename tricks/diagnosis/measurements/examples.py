"""Examples as rows of numbers, and what measurements of data share."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

Splits = Mapping[str, tuple[Any, np.ndarray]]
"""`train` and what else there is of `validation` and `test`: each features and targets, as `tricks.data.Split` is."""
Z = 1.959964
"""Standard errors of a two-sided interval of 95 %."""
_FAR = 5.0  # Standard deviations beyond which a value is not told from another.


class Rows(NamedTuple):
    """Features of examples as a matrix."""

    values: np.ndarray
    """(n, d) in float32."""
    names: tuple[str, ...]
    """Of the d columns."""
    arrays: np.ndarray
    """(d,): the array that a column is a position of, as a pixel is; -1 for a column of a table."""
    tokens: tuple[str, ...]
    """Names of the arrays left out: of integers, whose distances mean nothing."""
    non_finite: int
    """Values that were infinite or none, and are 0 here."""


def rows_of(features: Any, names: Sequence[str] = ()) -> Rows:
    """Flattens features to one row of numbers for each example.

    Floats and bool are numbers, and so are uint8 of three dimensions or more, which are pixels; other integers are
    tokens and left out.

    Args:
        features: pytree of arrays (n, ...).
        names: of the columns; otherwise their places, as `3` or `image[0, 4, 0]`.

    Returns:
        The rows.

    Raises:
        ValueError: the number of names is another than that of columns.

    >>> rows = rows_of({"age": np.ones((2, 1)), "words": np.ones((2, 5), np.int32)})
    >>> rows.values.shape, rows.names, rows.tokens
    ((2, 1), ('age[0]',), ('words',))
    """
    kept, columns, arrays, tokens = [], [], [], []
    for place, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(features)[0]):
        array, name = np.asarray(leaf), jax.tree_util.keystr(path, simple=True, separator=".")
        if not _is_numbers(array):
            tokens.append(name or "features")
            continue
        kept.append(array.reshape(len(array), -1).astype(np.float32, copy=False))
        places = [", ".join(map(str, index)) for index in np.ndindex(array.shape[1:])]
        columns += [f"{name}[{index}]" if name and index else name or index for index in places]
        arrays += [place if array.ndim > 2 else -1] * len(places)
    if names and len(names) != len(columns):
        raise ValueError(f"names are {len(names)}; allowed: one for each of the {len(columns)} columns")
    # One array is not copied.
    values = kept[0] if len(kept) == 1 else np.concatenate(kept or [np.zeros((0, 0), np.float32)], axis=1)
    non_finite = values.size - int(np.count_nonzero(np.isfinite(values)))
    if non_finite:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return Rows(values, tuple(names) or tuple(columns), np.array(arrays, int), tuple(tokens), non_finite)


def moments(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column.

    Args:
        rows: at least one.

    Returns:
        Each (d,) in float64; a deviation that is rounding alone is 0.
    """
    mean = rows.values.mean(axis=0, dtype=np.float64)
    centred = rows.values - mean.astype(np.float32)
    deviation = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(rows.values))
    return mean, np.where(deviation > 1e-6 * np.abs(mean), deviation, 0.0)


def scales_of(rows: Rows, deviation: np.ndarray) -> np.ndarray:
    """What columns are divided by to compare rows: s_d = their deviation, or 1 if that is 0.

    The positions of one array have s^2 = max(var(x_d), mean_d var(x_d)): of images those hardly ever inked would
    otherwise outweigh all others.

    Args:
        rows: of examples.
        deviation: (d,), as `moments` gives it.

    Returns:
        (d,) in float32.
    """
    scale = deviation.copy()
    for array in np.unique(rows.arrays[rows.arrays >= 0]):
        own = rows.arrays == array
        scale[own] = np.maximum(scale[own], np.sqrt(np.square(scale[own]).mean()))
    scale[scale == 0] = 1.0
    return scale.astype(np.float32)


def standardized(rows: Rows) -> np.ndarray:
    """Rows in units of `scales_of`, about their mean, cut off at 5.

    >>> standardized(rows_of(np.array([[0.0, 7.0], [4.0, 7.0]]))).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    mean, deviation = moments(rows)
    values = (rows.values - mean.astype(np.float32)) / scales_of(rows, deviation)
    return np.clip(values, -_FAR, _FAR, out=values)


def chosen(n: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Places of at most that many of n examples, in their order."""
    return np.arange(n) if n <= count else np.sort(generator.choice(n, count, replace=False))


def take(rows: Rows, places: np.ndarray) -> Rows:
    """Some of the rows."""
    return rows._replace(values=rows.values[places])


def wilson(hits: float, n: int) -> list[float]:
    """Interval of 95 % of a share (Wilson, 1927); of none, all.

    >>> [round(end, 4) for end in wilson(0, 10)]
    [0.0, 0.2775]
    """
    if n == 0:
        return [0.0, 1.0]
    share, z = hits / n, Z**2 / n
    half = math.sqrt(z * share * (1 - share) + z**2 / 4)
    return [max((share + z / 2 - half) / (1 + z), 0.0), min((share + z / 2 + half) / (1 + z), 1.0)]


def around(values: np.ndarray) -> list[float]:
    """Interval of 95 % of a mean, by the normal distribution."""
    half = Z * float(np.std(values)) / math.sqrt(len(values))
    return [float(np.mean(values)) - half, float(np.mean(values)) + half]


def _is_numbers(array: np.ndarray) -> bool:
    return array.dtype.kind in "fb" or (array.dtype == np.uint8 and array.ndim > 2)
