"""The ends of a spectrum: Lanczos with full reorthogonalization and thick restarts, in one dispatch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from tricks.curvature.krylov import Flat, extended, flattened, is_rounding, length, matmul, next_unit

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


class _Cycle(NamedTuple):
    basis: jax.Array  # (m + 1, n) orthonormal rows, zero where not filled yet
    projected: jax.Array  # (m, m): A in the basis
    filled: jax.Array  # rows whose product is in `projected`
    beta: jax.Array  # length of what the last product has outside the basis, which is the next row
    expected: jax.Array  # (m,): what the next row's product should have in the basis, if A is symmetric
    asymmetry: jax.Array  # by how much any had something else
    lost: jax.Array  # (starts, m): of each direction that was left for a new start, what the rows' products have of it
    starts: jax.Array  # how many were left so
    values: jax.Array  # (m,) ascending Ritz values
    coordinates: jax.Array  # (m, m) their vectors in the basis, as columns
    products: jax.Array
    seen: jax.Array  # the wanted values when they last had converged
    verified_at: jax.Array  # products after which values that are still those count as verified
    goes_on: jax.Array  # whether another product is wanted
    anew: jax.Array  # whether the pending row is a new start, from which only the wanted pairs are kept
    words: jax.Array  # two random words, of the directions that are taken where the space is left


class _Plan(NamedTuple):
    flat: Flat  # the operator on long vectors
    k: int
    which: str
    wanted: int  # pairs, at both ends together
    m: int  # vectors in the basis
    tol: jax.Array
    negative_tol: float
    max_products: int | jax.Array


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
    sharding: NamedSharding | None = None,
    negative_tol: float = 0.0,
) -> tuple[Eigenpairs, jax.Array]:
    """Extreme eigenpairs of a symmetric operator.

    A Krylov basis V grows by one product a step, orthogonalized twice against all of it, up to `basis_size` vectors;
    then the Ritz vectors nearest the wanted ends are kept and the rest makes room (a thick restart). It stops when the
    residuals of all wanted pairs are at most tol |A|. From one start only one copy of a repeated eigenvalue, or one
    value of a close cluster, can be found; so with k > 1 the search then goes on from a random vector outside the
    space, a third as long again, and stops only when that has found no other value.

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
        sharding: of the vectors of the basis.
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
    m = min(basis_size - wanted, flat.size)
    plan = _Plan(flat, k, which, wanted, m, tol, negative_tol, max_products)

    def fill(cycle: _Cycle) -> _Cycle:
        more = partial(_grown, plan)
        return jax.lax.while_loop(lambda c: c.goes_on & (c.filled < m) & ~c.anew, more, _restarted(plan, cycle))

    cycle = jax.lax.while_loop(lambda c: c.goes_on, fill, _first(plan, key))
    ends, residuals, norm = _ends(plan, cycle), _residuals(plan, cycle), _norm_of_operator(cycle)
    # A row of zeros for the pending vector: a slice of the basis would be a copy of it.
    coordinates = jnp.pad(cycle.coordinates[:, ends], ((0, 1), (0, 0))).T
    pairs = Eigenpairs(
        cycle.values[ends],
        # One after the other, or they would lie in memory twice.
        jax.lax.map(lambda row: flat.to_tree(matmul(row, cycle.basis)), coordinates),
        # What rounding adds to every product.
        residuals + 40 * epsilon * norm,
        residuals <= tol * norm,
        cycle.products,
    )
    return pairs, cycle.asymmetry / jnp.maximum(norm, jnp.finfo(flat.dtype).tiny)


def _first(plan: _Plan, key: jax.Array) -> _Cycle:
    dtype = plan.flat.dtype
    return _Cycle(
        basis=plan.flat.zeros(plan.m + 1).at[0].set(plan.flat.random(key)),
        projected=jnp.zeros((plan.m, plan.m), dtype),
        filled=jnp.int32(0),
        beta=jnp.zeros([], dtype),
        expected=jnp.zeros(plan.m, dtype),
        asymmetry=jnp.zeros([], dtype),
        lost=jnp.zeros((_STARTS, plan.m), dtype),
        starts=jnp.int32(0),
        values=jnp.zeros(plan.m, dtype),
        coordinates=jnp.eye(plan.m, dtype=dtype),
        products=jnp.int32(0),
        seen=jnp.full(plan.wanted, jnp.inf, dtype),
        verified_at=jnp.int32(0),
        goes_on=jnp.bool_(True),
        anew=jnp.bool_(False),
        words=jax.random.bits(jax.random.fold_in(key, 1), (2,), jnp.uint32),
    )


def _ends(plan: _Plan, cycle: _Cycle) -> jax.Array:
    low = jnp.arange(plan.k)
    high = cycle.filled - plan.k + low
    return {"smallest": low, "largest": high, "both": jnp.concatenate([low, high])}[plan.which]


def _norm_of_operator(cycle: _Cycle) -> jax.Array:
    return jnp.max(jnp.where(jnp.arange(len(cycle.values)) < cycle.filled, jnp.abs(cycle.values), 0))


def _residuals(plan: _Plan, cycle: _Cycle) -> jax.Array:
    parts = cycle.coordinates[:, _ends(plan, cycle)]
    left_behind = jnp.sum(jnp.abs(matmul(cycle.lost, parts)), axis=0)
    return left_behind + cycle.beta * jnp.abs(parts[cycle.filled - 1])


def _exact(plan: _Plan, cycle: _Cycle, tol: jax.Array) -> jax.Array:
    allowed = jnp.maximum(tol * _norm_of_operator(cycle), -plan.negative_tol * cycle.values[_ends(plan, cycle)])
    return (cycle.filled >= plan.wanted) & jnp.all(_residuals(plan, cycle) <= allowed)


def _done(plan: _Plan, cycle: _Cycle) -> jax.Array:
    exact = _exact(plan, cycle, plan.tol)
    if plan.k == 1:
        return exact
    change = jnp.abs(cycle.values[_ends(plan, cycle)] - cycle.seen)
    unchanged = jnp.all(change <= plan.tol * _norm_of_operator(cycle))
    return exact & unchanged & (cycle.products >= cycle.verified_at)


def _grown(plan: _Plan, cycle: _Cycle) -> _Cycle:
    """One product more."""
    row, products = cycle.filled, cycle.products + 1
    w, projected = extended(plan.flat.apply, cycle.basis, cycle.projected, row)
    beta = length(w)
    asymmetry = jnp.abs(projected[row] - cycle.expected) - jnp.sum(jnp.abs(cycle.lost), axis=0)
    asymmetry = jnp.max(jnp.where(jnp.arange(plan.m) < row, asymmetry, 0), initial=0)
    values, coordinates = _ritz(projected, row + 1)
    cycle = cycle._replace(
        projected=projected, filled=row + 1, beta=beta, values=values, coordinates=coordinates, products=products
    )
    # Each new start may lose half of what the ones before left of the tolerance.
    share = 1 - 0.5 ** (cycle.starts + 1).astype(beta.dtype)
    converged = _exact(plan, cycle, share * plan.tol) & (products >= cycle.verified_at)
    leaves = converged | is_rounding(beta, _norm_of_operator(cycle))
    finished = _done(plan, cycle)
    from_here_on = converged & ~finished
    following = next_unit(w, cycle.basis, leaves, partial(plan.flat.another, cycle.words, products))
    return cycle._replace(
        basis=jax.lax.dynamic_update_index_in_dim(cycle.basis, following, row + 1, 0),
        beta=jnp.where(leaves, 0, beta),
        lost=cycle.lost.at[jnp.minimum(cycle.starts, _STARTS - 1), row].add(jnp.where(leaves, beta, 0)),
        starts=cycle.starts + from_here_on,
        anew=from_here_on,
        seen=jnp.where(from_here_on, values[_ends(plan, cycle)], cycle.seen),
        verified_at=jnp.where(from_here_on, products + jnp.maximum(plan.wanted + 2, products // 3), cycle.verified_at),
        goes_on=(products < plan.max_products) & (row + 1 < plan.flat.size) & ~finished & jnp.isfinite(beta),
        expected=jnp.zeros_like(cycle.expected).at[row].set(jnp.where(leaves, 0, beta)),
        asymmetry=jnp.maximum(cycle.asymmetry, asymmetry + 0 * beta),
    )


def _restarted(plan: _Plan, cycle: _Cycle) -> _Cycle:
    """Makes room in the basis: its first rows become the Ritz vectors that are kept, and the pending one.

    Where the basis is full those nearest the wanted ends; for a new start the wanted ones alone, as what the others
    have outside the basis is left behind.
    """
    keep = _kept(plan.k, plan.which, plan.m)
    restarts = (cycle.filled == plan.m) | cycle.anew
    count = jnp.where(cycle.anew, plan.wanted, len(keep))
    ranks = jnp.where(cycle.anew, jnp.resize(_ends(plan, cycle), keep.shape), keep)
    chosen = jnp.where(jnp.arange(len(keep)) < count, cycle.coordinates[:, ranks], 0)
    first = slice(0, len(keep))
    rotation = jnp.zeros((plan.m + 1, plan.m + 1), chosen.dtype)
    rotation = rotation.at[first, : plan.m].set(chosen.T).at[count, cycle.filled].set(1)
    values = jnp.where(jnp.arange(len(keep)) < count, cycle.values[ranks], 0)
    projected = jnp.zeros_like(cycle.projected).at[first, first].set(jnp.diag(values))
    lost = jnp.zeros_like(cycle.lost).at[:, first].set(matmul(cycle.lost, chosen))
    expected = jnp.zeros_like(cycle.expected).at[first].set(cycle.beta * chosen[cycle.filled - 1])
    return cycle._replace(
        basis=plan.flat.rotated(rotation, cycle.basis, restarts),
        projected=jnp.where(restarts, projected, cycle.projected),
        lost=jnp.where(restarts, lost, cycle.lost),
        expected=jnp.where(restarts, expected, cycle.expected),
        filled=jnp.where(restarts, count, cycle.filled),
        anew=jnp.bool_(False),
    )


def _kept(k: int, which: str, m: int) -> jax.Array:
    """Which Ritz vectors, by their rank, survive a restart: the wanted ones and as many again, but half at most."""
    if which == "both":
        half = max(k, m // 4)
        return jnp.array([*range(half), *range(m - half, m)]) if 2 * half < m else jnp.arange(m)
    count = min(max(k, m // 2), m)
    return jnp.arange(count) if which == "smallest" else jnp.arange(m - count, m)


def _ritz(projected: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenpairs of the filled part, ascending; those of the empty rest come after them."""
    bound = jnp.max(jnp.sum(jnp.abs(projected), axis=0))
    empty = jnp.arange(len(projected)) >= filled
    return jnp.linalg.eigh(projected + jnp.diag(jnp.where(empty, 2 * bound + 1e-3 * (bound == 0), 0)))
