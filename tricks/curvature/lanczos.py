"""The ends of a spectrum: Lanczos with full reorthogonalization and thick restarts, in one dispatch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from tricks.curvature.division import Division
from tricks.curvature.krylov import (
    Flat,
    bordered,
    flattened,
    is_rounding,
    length,
    matmul,
    next_unit,
    orthogonalized,
    row_of,
)
from tricks.curvature.ritz import Ritz, kept_of, ritz_pairs, wanted_of

_STARTS = 32  # Told apart; with one after a third more products each, 32 are a hundred thousand products.
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


class _Search(NamedTuple):
    basis: jax.Array  # (m + 1, n) orthonormal rows, zero where not filled yet
    projected: jax.Array  # (m, m): A in the basis
    filled: jax.Array  # rows whose product is in `projected`
    expected: jax.Array  # (m,): what the next row's product should have in the basis, if A is symmetric
    asymmetry: jax.Array  # by how much any had something else
    lost: jax.Array  # (starts, m): of each direction that was left for a new start, what the rows' products have of it
    starts: jax.Array  # how many were left so
    norm: jax.Array  # of A, as far as it is known
    values: jax.Array  # (wanted,) Ritz values
    coordinates: jax.Array  # (m, wanted): their vectors in the basis
    residuals: jax.Array  # (wanted,)
    products: jax.Array
    seen: jax.Array  # the wanted values when they last had converged
    verified_at: jax.Array  # products after which values that are still those count as verified
    goes_on: jax.Array  # whether another product is wanted
    words: jax.Array  # two random words, of the directions that are taken where the space is left


class _Next(NamedTuple):
    """What follows a product."""

    row: jax.Array  # (n,), a unit vector
    beta: jax.Array  # how much of it the product has
    finished: jax.Array  # whether none is wanted any more
    anew: jax.Array  # whether it is a new start, from which only the wanted pairs are kept


class _Plan(NamedTuple):
    flat: Flat  # the operator on long vectors
    k: int
    which: str
    wanted: int  # pairs, at both ends together
    m: int  # vectors in the basis
    tol: jax.Array
    negative_tol: float
    max_products: int | jax.Array

    @property
    def starts(self) -> int:
        """How many directions that were left are told apart. A lone pair has converged where a space ends."""
        return _STARTS if self.wanted > 1 else 0


@partial(jax.jit, static_argnames=("k", "which", "basis_size", "sharding", "negative_tol"))
def lanczos(
    apply: Callable[[Any], Any],
    like: Any,
    key: jax.Array,
    tol: jax.Array,
    *,
    k: int,
    which: str,
    basis_size: int,
    max_products: int | jax.Array,
    sharding: NamedSharding | Division | None = None,
    negative_tol: float = 0.0,
) -> tuple[Eigenpairs, jax.Array]:
    """Extreme eigenpairs of a symmetric operator.

    A Krylov basis V grows by one product a step, orthogonalized against all of it as often as that takes, up to
    `basis_size` vectors; then the Ritz vectors nearest the wanted ends are kept and the rest makes room (a thick
    restart). It stops when the residuals of all wanted pairs are at most tol |A|. From one start only one copy of a
    repeated eigenvalue, or one value of a close cluster, can be found; so with k > 1 the search then goes on from a
    random vector outside the space, a third as long again, and stops only when that has found no other value.

    Args:
        apply: the operator, jit-compatible and a pytree (as `jax.tree_util.Partial`).
        like: a pytree with the structure, shapes and types of its vectors.
        key: of the random start. (A gradient is no start: at a symmetric trap it has no part along the way out.)
        tol: the residual that is allowed, as a share of the norm of A.
        k: pairs at each wanted end.
        which: `smallest`, `largest` or `both`.
        basis_size: vectors in memory, those that are returned among them; of the others at least 2 k + 2 (4 k + 2 for
            `both`), or the size of the problem.
        max_products: when to stop in any case.
        sharding: of the vectors of the basis, or of the leaves of `like`.
        negative_tol: a negative value is enough, too, once its residual is at most this share of the value itself:
            that is sooner where a direction of negative curvature is wanted and not the last digit of it.

    Returns:
        The pairs found, converged or not, and by how much A was seen to be asymmetric, as a share of its norm: beyond
        rounding, it is not symmetric or not the same at every product. NaN for a product that was not finite.

    Source: Wu and Simon 2000; Parlett 1980.
    """
    flat = flattened(apply, like, sharding)
    epsilon = jnp.finfo(flat.dtype).eps
    tol = jnp.maximum(tol, 40 * epsilon).astype(flat.dtype)
    wanted = 2 * k if which == "both" else k
    plan = _Plan(flat, k, which, wanted, min(basis_size - wanted, flat.size), tol, negative_tol, max_products)
    end = jax.lax.while_loop(lambda search: search.goes_on, partial(_grown, plan), _first(plan, key))
    # A row of zeros for the pending vector: a slice of the basis would be a copy of it.
    rows = jnp.pad(end.coordinates, ((0, 1), (0, 0))).T
    pairs = Eigenpairs(
        end.values,
        # One after the other, or they would lie in memory twice.
        jax.lax.map(lambda row: flat.to_tree(matmul(row, end.basis)), rows),
        # What rounding adds to every product, as the type says, or as was seen.
        end.residuals + jnp.maximum(40 * epsilon * end.norm, end.asymmetry),
        end.residuals <= tol * end.norm,
        end.products,
    )
    return pairs, end.asymmetry / jnp.maximum(end.norm, jnp.finfo(flat.dtype).tiny)


def _first(plan: _Plan, key: jax.Array) -> _Search:
    dtype = plan.flat.dtype
    words = jax.random.bits(jax.random.fold_in(key, 1), (2,), jnp.uint32) if plan.starts else jnp.zeros(2, jnp.uint32)
    return _Search(
        basis=plan.flat.zeros(plan.m + 1).at[0].set(plan.flat.random(key)),
        projected=jnp.zeros((plan.m, plan.m), dtype),
        filled=jnp.int32(0),
        expected=jnp.zeros(plan.m, dtype),
        asymmetry=jnp.zeros([], dtype),
        lost=jnp.zeros((plan.starts, plan.m), dtype),
        starts=jnp.int32(0),
        norm=jnp.zeros([], dtype),
        values=jnp.zeros(plan.wanted, dtype),
        coordinates=jnp.zeros((plan.m, plan.wanted), dtype),
        residuals=jnp.zeros(plan.wanted, dtype),
        products=jnp.int32(0),
        seen=jnp.full(plan.wanted, jnp.inf, dtype),
        verified_at=jnp.int32(0),
        goes_on=jnp.bool_(True),
        words=words,
    )


def _grown(plan: _Plan, search: _Search) -> _Search:
    """One product more, and room for the next."""
    row = search.filled
    w, h = orthogonalized(plan.flat.apply(row_of(search.basis, row)), search.basis, row)
    h, here = h[: plan.m], jnp.arange(plan.m) == row
    projected = bordered(search.projected, row, h)
    ritz = ritz_pairs(projected, row + 1, search.norm + jnp.sum(jnp.abs(h)))
    beta = length(w)
    asymmetry = jnp.abs(h - search.expected) - jnp.sum(jnp.abs(search.lost), axis=0)
    asymmetry = jnp.max(jnp.where(jnp.arange(plan.m) < row, asymmetry, 0), initial=0)
    coordinates = wanted_of(ritz.coordinates, row + 1, plan.k, plan.which)
    left_behind = jnp.sum(jnp.abs(matmul(search.lost, coordinates)), axis=0)
    search = search._replace(
        projected=projected,
        filled=row + 1,
        asymmetry=jnp.maximum(search.asymmetry, asymmetry + 0 * beta),
        norm=jnp.maximum(jnp.abs(ritz.values[0]), jnp.abs(row_of(ritz.values, row))),
        values=wanted_of(ritz.values, row + 1, plan.k, plan.which),
        coordinates=coordinates,
        residuals=left_behind + beta * jnp.abs(row_of(coordinates, row)),
        products=search.products + 1,
    )
    finished, unit = _exact(plan, search, plan.tol), w / jnp.maximum(beta, jnp.finfo(w.dtype).tiny)
    following = _Next(unit, beta, finished, jnp.bool_(False))
    # A lone pair has converged where the space ends, and there the search ends, too.
    if plan.wanted > 1:
        search, following = _verified(plan, search, w, following)
    more = (search.products < plan.max_products) & (row + 1 < plan.flat.size)
    search = search._replace(
        basis=jax.lax.dynamic_update_index_in_dim(search.basis, following.row, jnp.uint32(row) + 1, 0),
        expected=jnp.where(here, following.beta, 0),
        goes_on=more & ~following.finished & jnp.isfinite(beta),
    )
    return _restarted(plan, search, ritz, following)


def _exact(plan: _Plan, search: _Search, tol: jax.Array) -> jax.Array:
    allowed = jnp.maximum(tol * search.norm, -plan.negative_tol * search.values)
    return (search.filled >= plan.wanted) & jnp.all(search.residuals <= allowed)


def _verified(plan: _Plan, search: _Search, w: jax.Array, following: _Next) -> tuple[_Search, _Next]:
    """Where the space ends, or the pairs have converged, another direction follows, until one brings nothing new."""
    beta, exact = following.beta, following.finished
    here, late = jnp.arange(plan.m) == search.filled - 1, search.products >= search.verified_at
    unchanged = jnp.all(jnp.abs(search.values - search.seen) <= plan.tol * search.norm)
    finished = exact & ((unchanged & late) | (plan.k == 1))
    # Each new start may lose half of what the ones before left of the tolerance.
    share = 1 - 0.5 ** (search.starts + 1).astype(w.dtype)
    converged = _exact(plan, search, share * plan.tol) & late
    leaves = converged | is_rounding(beta, search.norm)
    anew = converged & ~finished
    unit = next_unit(w, search.basis, leaves, partial(plan.flat.another, search.words, search.products))
    start = jnp.arange(plan.starts) == jnp.minimum(search.starts, plan.starts - 1)
    verified_at = search.products + jnp.maximum(plan.wanted + 2, search.products // 3)
    search = search._replace(
        lost=search.lost + jnp.where(start[:, None] & here[None] & leaves, beta, 0),
        starts=search.starts + anew,
        seen=jnp.where(anew, search.values, search.seen),
        verified_at=jnp.where(anew, verified_at, search.verified_at),
    )
    return search, _Next(unit, jnp.where(leaves, 0, beta), finished, anew)


def _restarted(plan: _Plan, search: _Search, ritz: Ritz, following: _Next) -> _Search:
    """Makes room in the basis: its first rows become the Ritz vectors that are kept, and the pending one.

    Where the basis is full those nearest the wanted ends; for a new start the wanted ones alone, as what the others
    have outside the basis is left behind.
    """
    anew = following.anew
    restarts = search.goes_on & ((search.filled == plan.m) | anew)
    kept, values = (kept_of(part, plan.k, plan.which) for part in (ritz.coordinates, ritz.values))
    count: jax.Array | int = kept.shape[1]
    # Of one at each end no other copy is looked for.
    if plan.k > 1:
        # None is kept as a column of zeros.
        more = (0, kept.shape[1] - plan.wanted)
        kept = jnp.where(anew, jnp.pad(search.coordinates, ((0, 0), more)), kept)
        values = jnp.where(anew, jnp.pad(search.values, more), values)
        count = jnp.where(anew, plan.wanted, count)
    rest = plan.m - kept.shape[1]
    places = jnp.arange(plan.m + 1)
    pending = (places == count)[:, None] & (places == search.filled)[None]
    rotation = jnp.where(pending, 1, jnp.pad(kept.T, ((0, rest + 1), (0, 1))))
    expected = following.beta * row_of(kept, search.filled - 1)
    return search._replace(
        basis=plan.flat.rotated(rotation, search.basis, restarts),
        projected=jnp.where(restarts, jnp.diag(jnp.pad(values, (0, rest))), search.projected),
        lost=jnp.where(restarts, jnp.pad(matmul(search.lost, kept), ((0, 0), (0, rest))), search.lost),
        expected=jnp.where(restarts, jnp.pad(expected, (0, rest)), search.expected),
        filled=jnp.where(restarts, count, search.filled),
    )
