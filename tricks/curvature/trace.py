"""The sum of all eigenvalues, estimated."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_key
from tricks.curvature import trees
from tricks.curvature.eigenpairs import require_symmetric
from tricks.curvature.products import Operator, is_traced


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: jax.Array
    stderr: jax.Array


def trace(operator: Operator, *, key: jax.Array, probes: int = 30) -> Estimate:
    """Sum of all eigenvalues, from random vectors of signs: the mean of z.Az, and the standard error of that mean.

    Args:
        operator: symmetric.
        key: of the random vectors.
        probes: how many, 2 or more.

    Returns:
        `Estimate`, two scalars.

    Raises:
        ValueError: for fewer than 2 probes, or an operator that is not finite, not deterministic or not symmetric.

    >>> from tricks.curvature import hessian
    >>> estimate = trace(hessian(lambda w: jnp.sum(w**2), jnp.ones(3)), key=jax.random.key(0))
    >>> round(float(estimate.mean), 4), round(float(estimate.stderr), 4)
    (6.0, 0.0)

    Source: Hutchinson 1990.
    """
    require_key("key", key)
    require_integer("probes", probes, least=2)
    if not is_traced(operator):
        require_symmetric(operator, jax.random.fold_in(key, 1))
    return _trace(operator, key, probes)


@partial(jax.jit, static_argnums=2)
def _trace(operator: Operator, key: jax.Array, probes: int) -> Estimate:
    def sample(key: jax.Array) -> jax.Array:
        z = trees.random_signs(key, operator.like)
        z = z if operator.division is None else operator.division.constrained(z)
        return trees.dot(z, operator.apply(z))

    samples = jax.lax.map(sample, jax.random.split(key, probes))
    return Estimate(jnp.mean(samples), jnp.std(samples, ddof=1) / jnp.sqrt(probes))
