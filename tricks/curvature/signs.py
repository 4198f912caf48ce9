"""How many eigenvalues are positive, zero and negative, counted or estimated."""

from typing import NamedTuple

import numpy as np

from tricks.curvature.density import SpectralDensity


class Interval(NamedTuple):
    """A value with its bounds; all three are the same where it was counted."""

    value: float
    lower: float
    upper: float


class Signs(NamedTuple):
    """Numbers of eigenvalues above a tolerance, within it, and below it negative, and the minimum ratios."""

    positive: Interval
    zero: Interval
    negative: Interval
    minimum_ratio: Interval
    """Eigenvalues above 0, as a share of all; those of pure rounding fall on either side."""
    significant_minimum_ratio: Interval
    """Positive ones as a share of those outside the tolerance; NaN where there are none."""


def counted(values: np.ndarray, tolerance: float) -> Signs:
    """From the whole spectrum.

    Args:
        values: (n,) eigenvalues.
        tolerance: up to which |eigenvalue| counts as zero.

    Returns:
        `Signs`, exact.

    >>> signs = counted(np.array([-2.0, 0.0, 1.0, 3.0]), 0.1)
    >>> signs.positive.value, signs.negative.value, round(signs.significant_minimum_ratio.value, 4)
    (2.0, 1.0, 0.6667)
    """
    positive, negative = float(np.sum(values > tolerance)), float(np.sum(values < -tolerance))
    outside = positive + negative
    parts = (
        positive,
        len(values) - outside,
        negative,
        float(np.mean(values > 0)),
        positive / outside if outside else float("nan"),
    )
    return Signs(*(Interval(part, part, part) for part in parts))


def estimated(density: SpectralDensity, size: int, tolerance: float, rounding: float = 0.0) -> Signs:
    """From Lanczos quadratures: 95 % intervals of the sampling, widened by the nodes that a threshold may cut.

    The weight that c of n eigenvalues have in a random unit vector is distributed as Beta(c/2, (n - c)/2), which gives
    the interval. A node beside a threshold, and nearer to it than its residual, may stand for both sides of it.

    Args:
        density: of 1 run or more.
        size: number of eigenvalues.
        tolerance: up to which |eigenvalue| counts as zero.
        rounding: how far a node may be off beyond its residual.

    Returns:
        `Signs` with intervals.

    >>> import jax.numpy as jnp
    >>> nodes, weights = jnp.array([[-1.0, 1.0]] * 2), jnp.array([[0.25, 0.75]] * 2)
    >>> negative = estimated(SpectralDensity(nodes, weights, jnp.zeros((2, 2))), 800, 0.1).negative
    >>> negative.value, round(negative.lower), round(negative.upper)
    (200.0, 177, 224)
    """
    positive, above_zero = (_number_above(density, size, threshold, rounding) for threshold in (tolerance, 0.0))
    mirrored = SpectralDensity(-density.nodes[:, ::-1], density.weights[:, ::-1], density.residuals[:, ::-1])
    negative = _number_above(mirrored, size, tolerance, rounding)
    zero = Interval(
        max(0.0, size - positive.value - negative.value),
        max(0.0, size - positive.upper - negative.upper),
        max(0.0, size - positive.lower - negative.lower),
    )
    significant = Interval(
        _ratio(positive.value, negative.value),
        _ratio(positive.lower, negative.upper),
        _ratio(positive.upper, negative.lower),
    )
    return Signs(positive, zero, negative, Interval(*(number / size for number in above_zero)), significant)


def _number_above(density: SpectralDensity, size: int, threshold: float, rounding: float) -> Interval:
    nodes, weights, residuals = (np.asarray(part, np.float64) for part in density)
    weights = weights / weights.sum(axis=1, keepdims=True)
    above = nodes > threshold
    # Of a Gauss quadrature only the weights of the two nodes beside a threshold may stand for both of its sides
    # (Chebyshev, Markov, Stieltjes), and of a converged one not even those.
    beside = np.zeros_like(above)
    beside[:, 1:] |= above[:, 1:] != above[:, :-1]
    beside[:, :-1] |= above[:, 1:] != above[:, :-1]
    away = np.abs(nodes - threshold)
    unsure = (beside & (away <= residuals)) | (away <= rounding)
    least, most = (float(np.mean(np.sum(weights * part, axis=1))) for part in (above & ~unsure, above | unsure))
    # What may be on either side is halved: all of it on one would be the end of the interval.
    value = (least + most) / 2
    runs = len(nodes)
    return Interval(
        min(size * value, float(size)),
        _number_of_share(least, runs, size, 0.975),
        _number_of_share(most, runs, size, 0.025),
    )


def _number_of_share(share: float, runs: int, size: int, quantile: float) -> float:
    """The number of eigenvalues of which the mean share over the runs would be below `share` so often."""
    from scipy.special import betainc  # Takes a fifth of a second to import.

    # All or nothing, but for rounding.
    if share < 1e-9 or share > 1 - 1e-9:
        return size * float(share > 0.5)
    low, high = 0.0, float(size)
    for _ in range(60):
        number = (low + high) / 2
        # The mean of Beta variables is nearly one itself, of so many times the degrees of freedom.
        if betainc(runs * number / 2, runs * (size - number) / 2, share) > quantile:
            low = number
        else:
            high = number
    return (low + high) / 2


def _ratio(positive: float, negative: float) -> float:
    return positive / (positive + negative) if positive + negative > 0 else float("nan")
