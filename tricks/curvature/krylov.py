"""One step of an orthonormal Krylov basis, as the ends of a spectrum and its density both take it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Vector = jax.Array


def flattened(
    apply: Callable[[Any], Any], like: Any
) -> tuple[Callable[[Vector], Vector], int, Any, Callable[[Vector], Any]]:
    """An operator on pytrees as one on long vectors: what is compiled then does not grow with the number of leaves.

    Args:
        apply: the operator.
        like: a pytree with the structure, shapes and types of its vectors.

    Returns:
        The operator on vectors of shape (n,), n, their type (float32 at least), and the way back to a pytree.

    >>> apply, size, _, unravel = flattened(lambda v: {"a": 2 * v["a"]}, {"a": jnp.ones((1, 2))})
    >>> apply(jnp.ones(2)).tolist(), size, unravel(jnp.ones(2))["a"].shape
    ([2.0, 2.0], 2, (1, 2))
    """
    flat, unravel = ravel_pytree(like)
    dtype = jnp.promote_types(flat.dtype, jnp.float32)

    def to_tree(vector: Vector) -> Any:
        return unravel(vector.astype(flat.dtype))

    return lambda vector: ravel_pytree(apply(to_tree(vector)))[0].astype(dtype), flat.size, dtype, to_tree


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b, with all digits also where the default is fewer.

    >>> matmul(jnp.eye(2), jnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def random_unit(key: jax.Array, size: int, dtype: Any) -> Vector:
    """A unit vector in a random direction.

    >>> round(float(jnp.linalg.norm(random_unit(jax.random.key(0), 5, jnp.float32))), 4)
    1.0
    """
    drawn = jax.random.normal(key, (size,), dtype)
    return drawn / jnp.linalg.norm(drawn)


def orthogonalized(w: Vector, basis: jax.Array) -> tuple[Vector, jax.Array]:
    """w without its part in a basis, and that part. One pass leaves 3e-5 of it in float32, the second 1e-6.

    Args:
        w: (n,).
        basis: (m, n), orthonormal rows, or rows of zeros.

    Returns:
        (n,), and the coefficients (m,).

    >>> orthogonalized(jnp.array([3.0, 4.0]), jnp.array([[1.0, 0.0]]))[0].tolist()
    [0.0, 4.0]
    """
    h = matmul(basis, w)
    w = w - matmul(h, basis)
    correction = matmul(basis, w)
    return w - matmul(correction, basis), h + correction


def extended(
    apply: Callable[[Vector], Vector], basis: jax.Array, projected: jax.Array, row: jax.Array
) -> tuple[Vector, jax.Array]:
    """The product with a row of the basis: its part outside, and the projected operator with that row filled in.

    Args:
        apply: the operator.
        basis: (m + 1, n), orthonormal rows up to `row`, zeros after it.
        projected: (m, m).
        row: which.

    Returns:
        (n,) and (m, m).

    >>> w, projected = extended(lambda v: 2 * v, jnp.eye(2)[:2], jnp.zeros((1, 1)), 0)
    >>> w.tolist(), projected.tolist()
    ([0.0, 0.0], [[2.0]])
    """
    w, h = orthogonalized(apply(basis[row]), basis)
    h = h[: len(projected)]
    return w, projected.at[row].set(h).at[:, row].set(h)


def is_rounding(beta: jax.Array, norm: jax.Array) -> jax.Array:
    """Whether a length is so small beside the norm of the operator that it is rounding and no direction.

    >>> bool(is_rounding(jnp.float32(1e-8), jnp.float32(1.0)))
    True
    """
    return beta <= 10 * jnp.finfo(beta.dtype).eps * norm


def next_unit(w: Vector, basis: jax.Array, leaves: jax.Array, key: jax.Array) -> Vector:
    """The direction of w, or where the space is left one at random outside the basis.

    Args:
        w: (n,), orthogonal to the basis.
        basis: (m, n).
        leaves: whether w is not to be followed.
        key: of the random direction.

    Returns:
        (n,), a unit vector, or zeros when there is nothing outside.

    >>> next_unit(jnp.array([0.0, 3.0]), jnp.array([[1.0, 0.0]]), jnp.bool_(False), jax.random.key(0)).tolist()
    [0.0, 1.0]
    """

    def elsewhere() -> Vector:
        return orthogonalized(random_unit(key, w.size, w.dtype), basis)[0]

    following = jax.lax.cond(leaves, elsewhere, lambda: w)
    return following / jnp.maximum(jnp.linalg.norm(following), jnp.finfo(w.dtype).tiny)
