"""Features and targets in units of the training part: x~ = (x - m) / s."""

import math
from typing import Any

import numpy as np

NORMALIZATIONS = ("feature", "channel", "none")
# Examples summed at a time, unless they are so large that a block of them would not fit into memory.
_SUMMED = 4096
SUMMED_VALUES = 2**27
_GATHERED_VALUES = 2**18  # Of a block that stays in the cache.


def statistics(
    features: Any, rows: np.ndarray, *, kind: str, normalization: str, values_at_once: int = SUMMED_VALUES
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean m and scale s of some examples.

    By `feature` both are of each dimension by itself, s^2 = var(x_d); of pixels s^2 = max(var(x_d), mean_d var(x_d)),
    because those at the border, hardly ever inked, would otherwise be amplified without bound. By `channel` both are
    over all positions: of x (n, ..., channels), m_c = mean(x[..., c]), s_c^2 = var(x[..., c]). A scale of 0 becomes 1.

    Args:
        features: (n, ...), an array or what gives one of some rows.
        rows: of the training examples.
        kind: `numbers`, `pixels` or `tokens`.
        normalization: one of `NORMALIZATIONS`.
        values_at_once: that are summed together, in float64.

    Returns:
        m and s in float32, of the shape of an example; None and None by `none` and for tokens.

    >>> ends = np.array([[[0.0, 10.0], [4.0, 10.0]], [[2.0, 10.0], [2.0, 10.0]]])  # (n, length, channels)
    >>> statistics(ends, np.array([0, 1]), kind="numbers", normalization="feature")[0].tolist()
    [[1.0, 10.0], [3.0, 10.0]]
    >>> statistics(ends, np.array([0, 1]), kind="numbers", normalization="channel")[0].tolist()
    [[2.0, 10.0], [2.0, 10.0]]
    """
    if kind == "tokens" or normalization == "none":
        return None, None
    example = features.shape[1:]
    width = math.prod(example) if normalization == "feature" else math.prod(example[-1:])
    mean, variance = _mean_and_variance(features, rows, width, values_at_once)
    if kind == "pixels" and normalization == "feature":
        variance = np.maximum(variance, variance.mean())
    scale = np.sqrt(variance)
    scale[scale == 0] = 1.0
    shape = example if normalization == "feature" else example[-1:]
    mean, scale = (np.broadcast_to(x.astype(np.float32).reshape(shape), example).copy() for x in (mean, scale))
    return mean, scale


def _mean_and_variance(
    features: Any, rows: np.ndarray, width: int, values_at_once: int
) -> tuple[np.ndarray, np.ndarray]:
    count, total, squares = 0, 0.0, 0.0
    # Sums of what is near zero round less.
    shift = features[rows[:1]].reshape(-1, width)[:1].astype(np.float64)
    together = min(_SUMMED, max(1, values_at_once // max(1, math.prod(features.shape[1:]))))
    for start in range(0, len(rows), together):
        block = features[rows[start : start + together]].reshape(-1, width) - shift
        count += len(block)
        total = total + block.sum(axis=0)
        squares = squares + np.square(block).sum(axis=0)
    mean = np.asarray(total) / count
    return mean + shift[0], np.maximum(np.asarray(squares) / count - mean**2, 0.0)


def gather(
    features: np.ndarray, rows: np.ndarray, *, kind: str, mean: np.ndarray | None, scale: np.ndarray | None
) -> np.ndarray:
    """Some examples, normalized, in one copy.

    Args:
        features: (n, ...).
        rows: which, by their places.
        kind: `numbers`, `pixels` or `tokens`.
        mean: m, or None for features as they are.
        scale: s, or None.

    Returns:
        (rows, ...), int32 for tokens, else float32.

    >>> one, two = np.float32(1), np.float32(2)
    >>> gather(np.array([5.0, 7.0, 9.0]), np.array([0, 2]), kind="numbers", mean=one, scale=two).tolist()
    [2.0, 4.0]
    """
    gathered = np.empty((len(rows), *features.shape[1:]), np.int32 if kind == "tokens" else np.float32)
    together = max(1, _GATHERED_VALUES // max(1, math.prod(features.shape[1:])))
    for start in range(0, len(rows), together):
        block = gathered[start : start + together]
        block[...] = features[rows[start : start + together]]
        if mean is not None and scale is not None:
            block -= mean
            block /= scale
    return gathered


def target_statistics(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each output of a regression; a mean squared error of 1 is that of the mean.

    Args:
        targets: (n, ...), of the training part.

    Returns:
        Both in float64, of the shape of one target; a deviation of 0 becomes 1.

    >>> mean, scale = target_statistics(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), scale.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    mean = np.asarray(targets.mean(axis=0, dtype=np.float64))
    scale = np.asarray(targets.std(axis=0, dtype=np.float64))
    return mean, np.where(scale == 0, 1.0, scale)
