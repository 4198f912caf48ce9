"""Arrays whose sharding is a part of their type (`jax.sharding.AxisType.Explicit`), as parts of one long vector.

Leaves that are sharded along different axes have no vector in common but one that every device holds whole.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec


def whole(leaf: Any) -> jax.Array:
    """An array that every device holds whole; one without an explicit sharding as it is.

    Args:
        leaf: an array or a number.

    Returns:
        The array.

    >>> whole(jnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    leaf = jnp.asarray(leaf)
    sharding = jax.typeof(leaf).sharding
    if not _is_explicit(sharding):
        return leaf
    return jax.sharding.reshard(leaf, NamedSharding(sharding.mesh, PartitionSpec()))


def placed_like(array: jax.Array, like: Any) -> jax.Array:
    """An array with the explicit sharding of another of its shape, if that has one.

    Args:
        array: as `whole` gives it.
        like: the other.

    Returns:
        The array.

    >>> placed_like(jnp.ones(2), jnp.zeros(2)).tolist()
    [1.0, 1.0]
    """
    sharding = jax.typeof(jnp.asarray(like)).sharding
    return jax.sharding.reshard(array, sharding) if _is_explicit(sharding) else array


def raveled(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """`jax.flatten_util.ravel_pytree`, of leaves with any sharding.

    Args:
        tree: a pytree of arrays.

    Returns:
        One long vector, and a function from such vectors to pytrees with the structure and the shardings of `tree`.

    >>> vector, unravel = raveled({"a": jnp.ones((1, 2)), "b": jnp.zeros(1)})
    >>> vector.tolist(), unravel(2 * vector)["a"].tolist()
    ([1.0, 1.0, 0.0], [[2.0, 2.0]])
    """
    vector, unravel = ravel_pytree(jax.tree.map(whole, tree))
    return vector, lambda flat: jax.tree.map(placed_like, unravel(flat), tree)


def _is_explicit(sharding: NamedSharding) -> bool:
    # The type tells of explicit axes alone.
    return any(axis is not None for axis in sharding.spec)
