"""The whole matrix, where it is small."""

import jax
import jax.numpy as jnp

from tricks.curvature.placement import raveled
from tricks.curvature.products import Operator

LARGEST = 8192


def dense(operator: Operator) -> jax.Array:
    """The matrix of an operator, column by column.

    Args:
        operator: of at most 8192 rows.

    Returns:
        (n, n), rows and columns in the order of `jax.flatten_util.ravel_pytree`.

    Raises:
        ValueError: for a larger operator.

    >>> from tricks.curvature import hessian
    >>> dense(hessian(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))).tolist()
    [[0.0, -2.0], [-2.0, 0.0]]
    """
    size = operator.size
    if size > LARGEST:
        raise ValueError(f"the operator has {size} rows; allowed: {LARGEST} at most, beyond them use eigenpairs")
    return _dense(operator)


@jax.jit
def _dense(operator: Operator) -> jax.Array:
    flat, unravel = raveled(operator.like)

    def column(i: jax.Array) -> jax.Array:
        return raveled(operator.apply(unravel(jnp.zeros_like(flat).at[i].set(1))))[0]

    return jax.lax.map(column, jnp.arange(flat.size), batch_size=min(32, flat.size)).T
