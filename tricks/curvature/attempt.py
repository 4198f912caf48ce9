"""One attempt to leave a saddle, as a pure function: direction, certificate, line search, or noise."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.curvature import line_search, trees
from tricks.curvature.lanczos import lanczos
from tricks.curvature.noise import MOST_TRIALS as MOST_NOISE_TRIALS
from tricks.curvature.noise import most_noise, shares_reached
from tricks.curvature.products import Operator, Scalar, hessian, hvp

OUTCOMES = (
    "no check",
    "escaped",
    "perturbed",
    "no negative curvature",
    "curvature of the batch alone",
    "no lower loss",
    "derivatives vanish",
    "nothing moves",
    "not finite",
)
"""What a check can come to; an `Escape` holds the place in this list."""
NO_CHECK, ESCAPED, PERTURBED, NO_NEGATIVE, BATCH_ALONE, NO_LOWER, VANISHES, NOTHING_MOVES, NOT_FINITE = range(
    len(OUTCOMES)
)

_DIRECTION_TOL = 0.3  # Residual as a share of the negative value, from which on its vector is a good enough way out.
_TOL = 1e-4  # Residual as a share of the norm, from which on there is no negative curvature that counts.
_MOST_OF = 0.5  # Share of the parameters that derivatives reach where they do not vanish.
_DEAD = 0.01  # Share of the parameters that they reach also beside the point, where units are dead.


class Escape(NamedTuple):
    """What a check found; scalars."""

    outcome: jax.Array
    """Place in `OUTCOMES`."""
    eigenvalue: jax.Array
    """The leftmost that was found."""
    residual: jax.Array
    held_out_curvature: jax.Array
    """u.Hu of its vector on the held-out batch; the eigenvalue where there is none."""
    loss_before: jax.Array
    loss_after: jax.Array
    held_out_before: jax.Array
    held_out_after: jax.Array
    distance: jax.Array
    """Length of the step, in units of the parameters; 0 where none was taken."""
    products: jax.Array
    """Hessian-vector products."""
    evaluations: jax.Array
    """Of a loss."""

    @property
    def reason(self) -> str:
        """The outcome in words; not inside `jit`."""
        return OUTCOMES[int(self.outcome)]


class Options(NamedTuple):
    """How `attempt` goes about it; see `escape`."""

    min_decrease: float = 0.01
    basis_size: int = 40
    noise: bool = False


def most_evaluations(options: Options) -> int:
    """Of both losses together, in one attempt.

    >>> most_evaluations(Options())
    62
    """
    return 2 * (1 + line_search.MOST_TRIALS + MOST_NOISE_TRIALS * options.noise)


def nothing(dtype: Any = jnp.float32) -> Escape:
    """The evidence before any check.

    >>> nothing().reason
    'no check'
    """
    counted = ("outcome", "products", "evaluations")
    return Escape(**{name: jnp.zeros([], jnp.int32 if name in counted else dtype) for name in Escape._fields})


def attempt(
    value_fn: Callable[[Any], jax.Array],
    held_out_value_fn: Callable[[Any], jax.Array] | None,
    params: Any,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
    mask: Any = None,
    types: Any = None,
) -> tuple[Any, Escape]:
    """`escape` as a step that is yet to be added, for use inside `jit`.

    The losses in its evidence are those after `optax.apply_updates(params, step)`.

    Args:
        value_fn: `value_fn(params) -> loss`.
        held_out_value_fn: the same on held-out examples, or None.
        params: the point.
        key: of the random start.
        max_products: as for `escape`; may be traced.
        options: as for `escape`.
        mask: as for `escape`.
        types: a pytree with the types that the step is to have; None for those of `params`.

    Returns:
        A step of the structure of `params`, zeros where none is taken, and the evidence.

    >>> saddle = lambda w: w[0] ** 2 - w[1] ** 2
    >>> compiled = jax.jit(lambda w: attempt(saddle, None, w, jax.random.key(0), 100, Options()))
    >>> step, found = compiled(jnp.zeros(2))
    >>> OUTCOMES[int(found.outcome)], bool(jnp.abs(step[1]) > 10 * jnp.abs(step[0]))
    ('escaped', True)
    """
    # TensorFloat-32 and bfloat16 products keep too few digits for curvature, and for small differences of losses.
    with jax.default_matmul_precision("highest"):
        chosen, rest = trees.split(params, mask)
        types = trees.split_like(params if types is None else types, chosen)
        value_fns: list[Callable[[Any], jax.Array]] = [
            Scalar(_OfChosen(fn, rest)) for fn in (value_fn, held_out_value_fn) if fn is not None
        ]
        step, found = _attempt(value_fns, chosen, key, max_products, options, types)
        return trees.merge(step, jax.tree.map(jnp.zeros_like, rest)), found


@dataclasses.dataclass(frozen=True, eq=False)
class _OfChosen:
    """A function of the chosen parameters, the rest held where it is."""

    function: Callable[[Any], jax.Array]
    rest: Any

    def __call__(self, chosen: Any) -> jax.Array:
        return self.function(trees.merge(chosen, self.rest))


def _attempt(
    value_fns: list[Callable[[Any], jax.Array]],
    params: Any,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
    types: Any,
) -> tuple[Any, Escape]:
    direction_key, reach_key, noise_key = jax.random.split(key, 3)
    operator = hessian(value_fns[0], params)
    u, residual, products, curvatures = _direction(operator, value_fns, params, direction_key, max_products, options)
    # Sums and ratios of losses in bfloat16 would be rounded once more.
    before = jnp.stack([operator.loss, *(fn(params) for fn in value_fns[1:])]).astype(curvatures.dtype)

    def losses_at(step: Any) -> jax.Array:
        # The loss of what is returned: compilers skip the rounding to a narrow type and back where they may.
        moved = jax.tree.map(_really_rounded, optax.apply_updates(params, step))
        losses = jnp.stack([fn(moved) for fn in value_fns]).astype(before.dtype)
        return jnp.where(jnp.isnan(losses), jnp.inf, losses)

    def step_of(length: jax.Array, direction: Any) -> Any:
        return jax.tree.map(lambda v, t: _really_rounded((length * v).astype(jnp.result_type(t))), direction, types)

    # A Rayleigh quotient, so certain on its batch also while its vector is no eigenvector yet; not so its rounding,
    # which is a part of every residual.
    negative = curvatures[0] < -residual / 10
    # Spurious curvature, of the batch alone, is a third or less of itself elsewhere.
    certified = negative & jnp.all(curvatures <= curvatures[0] / 2)
    way = line_search.along(
        lambda distance: losses_at(step_of(distance, u)),
        # Nothing is tried from a point that is not finite, and so neither where there is no way.
        jnp.where(certified, before, jnp.nan),
        curvatures,
        longest=(10 * (1 + trees.norm(params))).astype(before.dtype),
        min_decrease=options.min_decrease,
        precision=float(jnp.finfo(operator.loss.dtype).eps),
    )
    escaped = way.distance != 0
    finite = jnp.all(jnp.isfinite(before)) & jnp.isfinite(curvatures[0])
    outcome = _first_failure(finite, negative, certified, escaped)
    unresolved = (outcome != ESCAPED) & (outcome != NOT_FINITE)
    outcome = jax.lax.cond(
        unresolved,
        lambda: _explained(outcome, *shares_reached(value_fns[0], operator, params, reach_key)),
        lambda: outcome,
    )
    after, distance = jnp.where(escaped, way.losses, before), way.distance
    step, evaluations = step_of(distance, u), len(value_fns) * (way.trials + 1)
    if options.noise:
        noise, losses, trials = most_noise(losses_at, step_of, params, before, noise_key, outcome == VANISHES)
        length = trees.norm(noise)
        perturbed = length > 0
        step, after, distance = (
            jax.tree.map(lambda new, old: jnp.where(perturbed, new, old), new, old)
            for new, old in ((noise, step), (losses, after), (length, distance))
        )
        outcome, evaluations = jnp.where(perturbed, PERTURBED, outcome), evaluations + len(value_fns) * trials
    return step, Escape(
        outcome.astype(jnp.int32),
        curvatures[0],
        residual,
        curvatures[-1],
        before[0],
        after[0],
        before[-1],
        after[-1],
        jnp.abs(distance),
        products + len(value_fns) - 1 + unresolved,
        evaluations.astype(jnp.int32),
    )


def _first_failure(finite: jax.Array, negative: jax.Array, certified: jax.Array, escaped: jax.Array) -> jax.Array:
    return jnp.select(
        [~finite, ~negative, ~certified, ~escaped], [NOT_FINITE, NO_NEGATIVE, BATCH_ALONE, NO_LOWER], ESCAPED
    )


def _explained(outcome: jax.Array, here: jax.Array, beside: jax.Array) -> jax.Array:
    """An outcome without a way out, or why there is none: by what derivatives reach at the point and beside it."""
    explained = jnp.where(beside < _DEAD, NOTHING_MOVES, outcome)
    return jnp.where((here < _MOST_OF) & (beside > 2 * here), VANISHES, explained)


def _direction(
    operator: Operator,
    value_fns: list[Callable[[Any], jax.Array]],
    params: Any,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    """A unit vector u, its residual, the products it took, and u.Hu on every batch."""
    found, _ = lanczos(
        operator.apply,
        operator.like,
        key,
        _TOL,
        k=1,
        which="smallest",
        basis_size=min(options.basis_size, operator.size + 1),
        # One product is for the held-out batch, and one for a look at what derivatives reach.
        max_products=max_products - len(value_fns),
        negative_tol=_DIRECTION_TOL,
    )
    u = jax.tree.map(lambda leaf: leaf[0], found.vectors)
    dtype = jnp.promote_types(operator.loss.dtype, jnp.float32)
    others = (trees.dot(u, hvp(fn, params, u)).astype(dtype) for fn in value_fns[1:])
    return u, found.residuals[0], found.products, jnp.stack([found.values[0].astype(dtype), *others])


def _really_rounded(leaf: jax.Array) -> jax.Array:
    kind = jnp.finfo(leaf.dtype)
    return jax.lax.reduce_precision(leaf, kind.nexp, kind.nmant) if kind.bits < 32 else leaf
