"""Both ends of a spectrum with bounds on what may lie further out, and the signs between: exact or estimated."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.curvature import trees
from tricks.curvature.confidence import missed, steps_needed
from tricks.curvature.dense import dense
from tricks.curvature.density import SpectralDensity, density_of
from tricks.curvature.eigenpairs import eigenpairs, require_symmetric
from tricks.curvature.lanczos import Eigenpairs
from tricks.curvature.placement import raveled
from tricks.curvature.products import Operator
from tricks.curvature.rounding import rounding_of
from tricks.curvature.signs import Interval, Signs, counted, estimated

_TOLERANCE = 1e-3
_WIDEST_ZERO = 1e-2
_PROBES = 3
_GLIMPSE = 12  # Products.
_MOST_STEPS = 4096  # Of a run: beyond it the projected matrix is the larger problem.


class Ends(NamedTuple):
    """The smallest and the largest eigenvalue and how far they are to be trusted."""

    smallest: float
    largest: float
    residuals: tuple[float, float]
    smallest_vector: Any
    largest_vector: Any
    bounds: tuple[float, float]
    """Outside which no eigenvalue lies, at the confidence."""
    seen: tuple[float, float]
    """Outermost values that any search saw, also without a vector."""
    confidence: float
    sign_tolerance: float
    """|value| above this has a certain sign."""
    tolerance: float
    """|value| up to this counts as zero."""
    spectrum: SpectralDensity | None
    products: int

    @property
    def norm(self) -> float:
        """Largest |eigenvalue|."""
        return max(abs(self.smallest), abs(self.largest))


def dense_ends(operator: Operator, key: jax.Array, tolerance: float | None) -> tuple[Ends, Signs]:
    """From the whole matrix.

    Args:
        operator: small.
        key: of a look at what is wrong where it is not symmetric.
        tolerance: share of the norm that counts as zero; None for what rounding can do.

    Returns:
        `Ends` and `Signs`, exact.
    """
    matrix = np.asarray(dense(operator), np.float64)
    trees.require_finite("a product", jnp.asarray(matrix))
    # The asymmetric part is rounding alone, and shows how large that is: a random matrix has the norm
    # 2 |.|_F / sqrt(n).
    noise = np.linalg.norm(matrix - matrix.T) / len(matrix) ** 0.5
    if noise > 1e-3 * np.linalg.norm(matrix):
        require_symmetric(operator, key)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    norm = float(max(abs(values[0]), abs(values[-1])))
    rounding = max(rounding_of(operator, norm), 4 * noise)
    sign = max(rounding, 0.0 if tolerance is None else tolerance * norm)
    flat, unravel = raveled(operator.like)
    low, high = (unravel(jnp.asarray(v, flat.dtype)) for v in (vectors[:, 0], vectors[:, -1]))
    smallest, largest = float(values[0]), float(values[-1])
    ends = Ends(
        smallest,
        largest,
        (rounding, rounding),
        low,
        high,
        (smallest, largest),
        (smallest, largest),
        1.0,
        sign,
        sign,
        _all(values),
        operator.size,
    )
    return ends, counted(values, sign)


def _all(values: np.ndarray) -> SpectralDensity:
    nodes = jnp.asarray(values)[None]
    return SpectralDensity(nodes, jnp.full_like(nodes, 1 / len(values)), jnp.zeros_like(nodes))


def lanczos_ends(operator: Operator, key: jax.Array, tolerance: float | None, confidence: float) -> tuple[Ends, Signs]:
    """From Lanczos: one search for the vectors, and a few long runs for the bounds and the signs.

    Args:
        operator: of any size.
        key: of the random starts.
        tolerance: share of the norm that counts as zero; None for 1e-3, or up to 1e-2 where the eigenvalues around
            zero are not resolved, with the sign of a smaller one that was found counting nevertheless.
        confidence: at which the bounds hold.

    Returns:
        `Ends` and `Signs`, estimated.
    """
    search_key, runs_key = jax.random.split(key)
    given, tolerance = tolerance is not None, _TOLERANCE if tolerance is None else tolerance
    # Each end may fail half as often as the whole; all runs must fail for it to be missed.
    steps = steps_needed(operator.size, tolerance / 2, ((1 - confidence) / 2) ** (1 / _PROBES))
    steps = min(steps, operator.size)
    if steps > _MOST_STEPS:
        raise ValueError(
            f"tolerance is {tolerance:g}; it takes runs of {steps} products: choose a larger one, or dense_up_to"
        )
    density = density_of(operator, key=runs_key, probes=_PROBES, steps=steps)
    nodes = np.asarray(density.nodes, np.float64)
    found = _search(operator, search_key, nodes, tolerance)
    smallest, largest = (float(value) for value in found.values)
    norm = max(abs(smallest), abs(largest))
    vectors, residuals = _one_by_one(found)
    rounding = max(rounding_of(operator, norm), 10 * float(_asymmetry(operator, *vectors)))
    low, high = min(smallest, nodes.min()), max(largest, nodes.max())
    # What lies further out by a share of the whole spread; the spread itself is larger by two such shares at most.
    missing = 0.0 if steps == operator.size else missed(operator.size, steps, tolerance / 2)
    further = tolerance / 2 / (1 - tolerance) * (high - low) + rounding
    ends = Ends(
        smallest,
        largest,
        residuals,
        *vectors,
        (low - further, high + further),
        (low, high),
        max(0.0, 1 - 2 * missing**_PROBES),
        max(rounding, tolerance * norm if given else 0.0),
        max(rounding, tolerance * norm, 0.0 if given else _width_of_zero(density, tolerance * norm)),
        density,
        int(found.products) + 2 + _PROBES * steps,
    )
    return ends, _with_found(estimated(density, operator.size, ends.tolerance, rounding), ends)


def glimpsed_ends(operator: Operator, key: jax.Array) -> tuple[Ends, Signs]:
    """From a dozen products: how large the norm is, and where the ends lie at least.

    Args:
        operator: of any size.
        key: of the random start.

    Returns:
        `Ends`, without bounds and spectrum, and `Signs`, unknown.
    """
    found = eigenpairs(operator, which="both", key=key, max_products=_GLIMPSE)
    smallest, largest = (float(value) for value in found.values)
    vectors, residuals = _one_by_one(found)
    rounding = rounding_of(operator, max(abs(smallest), abs(largest)))
    ends = Ends(
        smallest,
        largest,
        residuals,
        *vectors,
        (-math.inf, math.inf),
        (smallest, largest),
        0.0,
        rounding,
        rounding,
        None,
        int(found.products),
    )
    number, share = Interval(math.nan, 0.0, float(operator.size)), Interval(math.nan, 0.0, 1.0)
    return ends, Signs(number, number, number, share, share)


def _one_by_one(found: Eigenpairs) -> tuple[tuple[Any, Any], tuple[float, float]]:
    """The vectors of both ends and their residuals, the smallest first."""
    low, high = (jax.tree.map(lambda leaf, i=i: leaf[i], found.vectors) for i in (0, 1))
    return (low, high), (float(found.residuals[0]), float(found.residuals[1]))


def _search(operator: Operator, key: jax.Array, nodes: np.ndarray, tolerance: float) -> Eigenpairs:
    # Again with all digits where the long runs have seen further.
    found = eigenpairs(operator, which="both", key=key, tol=min(tolerance, 1e-3))
    low, high = float(nodes.min()), float(nodes.max())
    spread, norm = high - low, max(abs(low), abs(high))
    ahead = max(float(found.values[0]) - low, high - float(found.values[1]))
    # A sign that they saw, however small beside the norm, must not be missed.
    unseen = [
        abs(node)
        for node, value in ((low, float(found.values[0])), (-high, -float(found.values[1])))
        if node < -rounding_of(operator, norm) and value > node / 2
    ]
    if ahead <= 2 * tolerance * spread and not unseen:
        return found
    finer = min([tolerance / 100, *(node / norm / 10 for node in unseen)])
    again = eigenpairs(operator, which="both", key=jax.random.fold_in(key, 1), tol=finer)
    return again._replace(products=found.products + again.products)


def _width_of_zero(density: SpectralDensity, zero: float) -> float:
    """How far the eigenvalues that the nodes at zero stand for may reach: up to there nothing can be counted."""
    nodes, _, residuals = (np.asarray(part, np.float64) for part in density)
    widest = np.max(residuals, where=np.abs(nodes) <= zero, initial=0.0)
    return float(min(1.1 * widest + zero, _WIDEST_ZERO / _TOLERANCE * zero))


def _with_found(signs: Signs, ends: Ends) -> Signs:
    """What was found in person counts at least."""
    positive, negative = signs.positive, signs.negative
    if ends.largest > ends.tolerance:
        positive = positive._replace(**{side: max(1.0, getattr(positive, side)) for side in positive._fields})
    if ends.smallest < -ends.tolerance:
        negative = negative._replace(**{side: max(1.0, getattr(negative, side)) for side in negative._fields})
    return signs._replace(positive=positive, negative=negative)


@jax.jit
def _asymmetry(operator: Operator, u: Any, v: Any) -> jax.Array:
    return jnp.abs(trees.dot(u, operator.apply(v)) - trees.dot(v, operator.apply(u)))
