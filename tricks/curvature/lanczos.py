"""The ends of a spectrum: Lanczos with full reorthogonalization and thick restarts, in one dispatch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

WHICH = ("smallest", "largest", "both")


class Eigenpairs(NamedTuple):
    """Ends of a spectrum; for `both` the k smallest first and then the k largest, each ascending."""

    values: jax.Array
    """(k,), or (2 k,) for `both`."""
    vectors: Any
    """Unit vectors, stacked along a first dimension on every leaf."""
    residuals: jax.Array
    """|A v - value v| of each: an eigenvalue of A lies within this distance of the value."""
    converged: jax.Array
    """Whether each residual is at most tol times the norm of A."""
    products: jax.Array
    """How often the operator was applied."""


class _Cycle(NamedTuple):
    basis: jax.Array  # (m + 1, n) orthonormal rows, zero where not filled yet
    projected: jax.Array  # (m, m): A in the basis
    filled: jax.Array  # rows whose product is in `projected`
    beta: jax.Array  # length of what the last product has outside the basis, which is the next row
    lost: jax.Array  # (m,) for each row, length of what its product has outside the basis and outside that row
    values: jax.Array  # (m,) ascending Ritz values
    coordinates: jax.Array  # (m, m) their vectors in the basis, as columns
    products: jax.Array
    seen: jax.Array  # the wanted values when they last had converged
    verified_at: jax.Array  # products after which values that are still those count as verified
    goes_on: jax.Array  # whether another product is wanted
    key: jax.Array


@partial(jax.jit, static_argnames=("k", "which", "basis_size", "max_products"))
def lanczos(
    apply: Callable[[Any], Any],
    like: Any,
    key: jax.Array,
    tol: jax.Array,
    *,
    k: int,
    which: str,
    basis_size: int,
    max_products: int,
) -> Eigenpairs:
    """Extreme eigenpairs of a symmetric operator.

    A Krylov basis V grows by one product a step, orthogonalized twice against all of it, up to `basis_size` vectors;
    then the Ritz vectors nearest the wanted ends are kept and the rest makes room (a thick restart). It stops when the
    residuals of all wanted pairs are at most tol |A|. From one start only one copy of a repeated eigenvalue, or one
    value of a close cluster, can be found; so with k > 1 the search then goes on from a random vector outside the
    space, half as long again, and stops only when that has found no other value.

    Args:
        apply: the operator, jit-compatible and a pytree (as `jax.tree_util.Partial`).
        like: a pytree with the structure, shapes and types of its vectors.
        key: of the random start. (A gradient is no start: at a symmetric trap it has no part along the way out.)
        tol: the residual that is allowed, as a share of the norm of A.
        k: pairs at each wanted end.
        which: `smallest`, `largest` or `both`.
        basis_size: vectors in memory, at least 2 k + 2 (4 k + 2 for `both`), or the size of the problem.
        max_products: when to stop in any case.

    Returns:
        The pairs found, converged or not.

    Source: Wu and Simon 2000; Parlett 1980.
    """
    # One long vector inside: what is compiled does not grow with the number of leaves.
    flat, unravel = ravel_pytree(like)
    size = flat.size
    m = min(basis_size, size)
    wanted = 2 * k if which == "both" else k
    dtype = jnp.promote_types(flat.dtype, jnp.float32)
    epsilon = jnp.finfo(dtype).eps
    tol = jnp.maximum(tol, 40 * epsilon).astype(dtype)
    keep = _kept(k, which, m)

    def apply_flat(vector: jax.Array) -> jax.Array:
        return ravel_pytree(apply(unravel(vector.astype(flat.dtype))))[0].astype(dtype)

    def ends(cycle: _Cycle) -> jax.Array:
        low, high = jnp.arange(k), cycle.filled - k + jnp.arange(k)
        return {"smallest": low, "largest": high, "both": jnp.concatenate([low, high])}[which]

    def norm_of_operator(cycle: _Cycle) -> jax.Array:
        return jnp.max(jnp.where(jnp.arange(m) < cycle.filled, jnp.abs(cycle.values), 0))

    def residuals(cycle: _Cycle) -> jax.Array:
        parts = jnp.abs(cycle.coordinates[:, ends(cycle)])
        return cycle.lost @ parts + cycle.beta * parts[cycle.filled - 1]

    def exact(cycle: _Cycle, tol: jax.Array) -> jax.Array:
        return (cycle.filled >= wanted) & jnp.all(residuals(cycle) <= tol * norm_of_operator(cycle))

    def done(cycle: _Cycle) -> jax.Array:
        if k == 1:
            return exact(cycle, tol)
        unchanged = jnp.all(jnp.abs(cycle.values[ends(cycle)] - cycle.seen) <= tol * norm_of_operator(cycle))
        return exact(cycle, tol) & unchanged & (cycle.products >= cycle.verified_at)

    def grow(cycle: _Cycle) -> _Cycle:
        row, products = cycle.filled, cycle.products + 1
        key, fresh_key = jax.random.split(cycle.key)
        w, h = orthogonalized(apply_flat(cycle.basis[row]), cycle.basis)
        projected = cycle.projected.at[row].set(h[:m]).at[:, row].set(h[:m])
        beta = jnp.linalg.norm(w)
        values, coordinates = _ritz(projected, row + 1)
        cycle = cycle._replace(
            projected=projected, filled=row + 1, beta=beta, values=values, coordinates=coordinates, products=products
        )
        # A part of the tolerance is left for what the search from another vector loses.
        converged = exact(cycle, tol / 4) & (products >= cycle.verified_at)
        # Below this, w is rounding and no direction.
        leaves = converged | (beta <= 10 * epsilon * norm_of_operator(cycle))

        def elsewhere() -> jax.Array:
            return orthogonalized(jax.random.normal(fresh_key, (size,), dtype), cycle.basis)[0]

        following = jax.lax.cond(leaves, elsewhere, lambda: w)
        following = following / jnp.maximum(jnp.linalg.norm(following), jnp.finfo(dtype).tiny)
        finished = done(cycle)
        return cycle._replace(
            basis=cycle.basis.at[row + 1].set(following),
            beta=jnp.where(leaves, 0, beta),
            lost=cycle.lost.at[row].add(jnp.where(leaves, beta, 0)),
            seen=jnp.where(converged & ~finished, values[ends(cycle)], cycle.seen),
            verified_at=jnp.where(
                converged & ~finished, products + jnp.maximum(wanted + 2, products // 2), cycle.verified_at
            ),
            goes_on=(products < max_products) & (row + 1 < size) & ~finished,
            key=key,
        )

    def restart(cycle: _Cycle) -> _Cycle:
        rotation = cycle.coordinates[:, keep]
        kept = _product(rotation.T, cycle.basis[:m])
        count = len(keep)
        return cycle._replace(
            basis=jnp.zeros_like(cycle.basis).at[:count].set(kept).at[count].set(cycle.basis[m]),
            projected=jnp.zeros_like(cycle.projected).at[:count, :count].set(jnp.diag(cycle.values[keep])),
            lost=jnp.zeros_like(cycle.lost).at[:count].set(cycle.lost @ jnp.abs(rotation)),
            filled=jnp.int32(count),
        )

    start = jax.random.normal(key, (size,), dtype)
    cycle = _Cycle(
        jnp.zeros((m + 1, size), dtype).at[0].set(start / jnp.linalg.norm(start)),
        jnp.zeros((m, m), dtype),
        jnp.int32(0),
        jnp.zeros([], dtype),
        jnp.zeros(m, dtype),
        jnp.zeros(m, dtype),
        jnp.eye(m, dtype=dtype),
        jnp.int32(0),
        jnp.full(wanted, jnp.inf, dtype),
        jnp.int32(0),
        jnp.bool_(True),
        jax.random.fold_in(key, 1),
    )

    def fill(cycle: _Cycle) -> _Cycle:
        cycle = jax.lax.cond(cycle.filled == m, restart, lambda c: c, cycle)
        return jax.lax.while_loop(lambda c: c.goes_on & (c.filled < m), grow, cycle)

    cycle = jax.lax.while_loop(lambda c: c.goes_on, fill, cycle)
    vectors = _product(cycle.coordinates[:, ends(cycle)].T, cycle.basis[:m]).astype(flat.dtype)
    found = residuals(cycle)
    scale = norm_of_operator(cycle)
    return Eigenpairs(
        cycle.values[ends(cycle)],
        jax.vmap(unravel)(vectors),
        # What rounding adds to every product.
        found + 40 * epsilon * scale,
        found <= tol * scale,
        cycle.products,
    )


def _kept(k: int, which: str, m: int) -> jax.Array:
    """Which Ritz vectors, by their rank, survive a restart: the wanted ones and as many again, but half at most."""
    if which == "both":
        half = max(k, m // 4)
        return jnp.array([*range(half), *range(m - half, m)]) if 2 * half < m else jnp.arange(m)
    count = min(max(k, m // 2), m)
    return jnp.arange(count) if which == "smallest" else jnp.arange(m - count, m)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def orthogonalized(w: jax.Array, basis: jax.Array) -> tuple[jax.Array, jax.Array]:
    """w without its part in a basis, and that part. One pass leaves 3e-5 of it in float32, the second 1e-6.

    Args:
        w: (n,).
        basis: (m, n), orthonormal rows, or rows of zeros.

    Returns:
        (n,), and the coefficients (m,).

    >>> orthogonalized(jnp.array([3.0, 4.0]), jnp.array([[1.0, 0.0]]))[0].tolist()
    [0.0, 4.0]
    """
    h = _product(basis, w)
    w = w - _product(h, basis)
    correction = _product(basis, w)
    return w - _product(correction, basis), h + correction


def _ritz(projected: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenpairs of the filled part, ascending; those of the empty rest come after them."""
    bound = jnp.max(jnp.sum(jnp.abs(projected), axis=0))
    empty = jnp.arange(len(projected)) >= filled
    return jnp.linalg.eigh(projected + jnp.diag(jnp.where(empty, 2 * bound + 1e-3 * (bound == 0), 0)))
