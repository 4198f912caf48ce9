"""How far rounding may move what products show, by the coarsest type that the loss computes in."""

import math
from typing import Any

import jax

from tricks.curvature import trees
from tricks.curvature.jaxprs import coarsest
from tricks.curvature.products import Operator

_ACCUMULATED, _FINE = 100, 1e-4  # Rounding of many sums, in units of the precision, where that is still little.
_COARSE = 8  # Of half precision: beyond it no network of a test was off, in units of the precision.
_OF_SUMS = 8  # Of the sums that a gradient is, in units of single precision; of a coarser one they say less.
_OF_SYMMETRY, _LOST = 1e3, 0.25
GROSS = 1e-2
"""Asymmetry, as a share of the norm, that no single precision excuses, of whatever loss."""
SMALL = 1e-2
"""Share of the norm above which a tolerance hides too much to call what it hides zero."""


def precision_of(operator: Operator) -> float:
    """The epsilon of the coarsest type that its products pass through.

    >>> import jax.numpy as jnp
    >>> half = lambda w: jnp.sum(w.astype(jnp.bfloat16) ** 2).astype(w.dtype)
    >>> from tricks.curvature import hessian
    >>> precision_of(hessian(half, jnp.ones(2))), trees.epsilon(jnp.ones(2))
    (0.0078125, 1.1920928955078125e-07)
    """
    if operator.precision is not None:
        return operator.precision
    traced = jax.make_jaxpr(lambda vector: operator.apply(vector))(operator.like)
    return max(coarsest(traced), trees.epsilon(operator.like))


def rounding_of(operator: Operator, norm: float) -> float:
    """What the last digits make of a number of the size of the norm.

    >>> import jax.numpy as jnp
    >>> rounding_of(Operator(lambda v: v, jnp.ones(2)), 1.0)
    1.1920928955078125e-05
    """
    epsilon = precision_of(operator)
    return max(min(_ACCUMULATED * epsilon, _FINE), _COARSE * epsilon) * norm


def rounding_of_gradient(operator: Operator, norm: float, params: Any) -> tuple[float, float]:
    """|g| up to which it is surely zero, and up to which it may be.

    |g| = 100 epsilon |H| |w| + 8 epsilon (2 |H| |f|)^(1/2), epsilon the precision: what the last digits of the
    parameters w make of it, and those of the slopes of the examples, whose mean it is. (In a sum of squares f of
    residuals those are at most that root: |J| <= |2 H|^(1/2) and |r| = f^(1/2).)

    >>> import jax.numpy as jnp
    >>> operator = Operator(lambda v: v, jnp.ones(4), jnp.zeros([]))
    >>> ["%.1e" % part for part in rounding_of_gradient(operator, 1.0, jnp.ones(4, jnp.bfloat16))]
    ['2.4e-05', '1.2e-01']
    """
    length, single = float(trees.norm(trees.widened(params))), trees.epsilon(operator.like)
    slopes = math.sqrt(2 * norm * abs(float(operator.loss)))
    fine = _ACCUMULATED * single * norm * length + _OF_SUMS * single * slopes
    coarse = max(precision_of(operator), trees.epsilon(params))
    share = max(min(_ACCUMULATED * coarse, _FINE), _COARSE * coarse)
    return fine, max(fine, share * norm * length + coarse * slopes)


def asymmetry_allowed(operator: Operator) -> float:
    """By how much u.Av and v.Au of a symmetric operator may differ, as a share of its size.

    >>> import jax.numpy as jnp
    >>> asymmetry_allowed(Operator(lambda v: v, jnp.ones(2))) < 1e-3
    True
    """
    return min(_OF_SYMMETRY * precision_of(operator), _LOST)


def is_coarse(operator: Operator) -> bool:
    """Whether the loss computes in half precision somewhere.

    >>> import jax.numpy as jnp
    >>> is_coarse(Operator(lambda v: v, jnp.ones(2)))
    False
    """
    return _OF_SYMMETRY * precision_of(operator) > _LOST
