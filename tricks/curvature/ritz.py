"""Ritz pairs: eigenpairs of an operator in a basis that is filled in part, the wanted ones, and those worth keeping."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Ritz(NamedTuple):
    """All pairs."""

    values: jax.Array
    """(m,), ascending; those of the empty rest are the last."""
    coordinates: jax.Array
    """(m, m): vectors in the basis, as columns."""


def ritz_pairs(projected: jax.Array, filled: jax.Array | int, bound: jax.Array) -> Ritz:
    """Eigenpairs of the filled part of a symmetric matrix.

    Args:
        projected: (m, m), zeros outside the filled part.
        filled: how many rows and columns count.
        bound: of the norm.

    Returns:
        `Ritz`, of which `filled` pairs count.

    >>> ritz_pairs(jnp.diag(jnp.array([3.0, -1.0, 0.0])), 2, jnp.float32(3)).values.tolist()
    [-1.0, 3.0, 6.0]
    """
    empty = jnp.arange(len(projected)) >= filled
    padded = projected + jnp.diag(jnp.where(empty, 2 * bound + 1e-3 * (bound == 0), 0))
    coordinates, values = jax.lax.linalg.eigh(padded, symmetrize_input=False)
    return Ritz(values, coordinates)


def wanted_of(array: jax.Array, filled: jax.Array | int, k: int, which: str) -> jax.Array:
    """Of an array with a column for each pair, ascending, those of the k at the wanted ends.

    >>> wanted_of(jnp.array([1.0, 2.0, 3.0, 9.0]), 3, 1, "both").tolist()
    [1.0, 3.0]
    """
    low = array[..., :k]
    high = jax.lax.dynamic_slice_in_dim(array, filled - k, k, axis=-1)
    return {"smallest": low, "largest": high, "both": jnp.concatenate([low, high], axis=-1)}[which]


def kept_of(array: jax.Array, k: int, which: str) -> jax.Array:
    """Of an array with a column for each pair, those that survive a restart: the wanted ones and as many again, but
    half of them at most.

    >>> kept_of(jnp.arange(6.0), 1, "smallest").tolist(), kept_of(jnp.arange(6.0), 1, "both").tolist()
    ([0.0, 1.0, 2.0], [0.0, 5.0])
    """
    m = array.shape[-1]
    if which == "both":
        half = max(k, m // 4)
        return jnp.concatenate([array[..., :half], array[..., m - half :]], axis=-1) if 2 * half < m else array
    count = min(max(k, m // 2), m)
    return array[..., :count] if which == "smallest" else array[..., m - count :]
