"""One attempt to leave a saddle, as a pure function: direction, certificate, line search, or noise."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.curvature import line_search, trees
from tricks.curvature.by_type import Vectors, apart, joined
from tricks.curvature.division import Division
from tricks.curvature.lanczos import Eigenpairs, lanczos
from tricks.curvature.noise import MOST_TRIALS as MOST_NOISE_TRIALS
from tricks.curvature.noise import gradient_beside, most_noise, share_reached
from tricks.curvature.products import Operator, Scalar, hessian
from tricks.curvature.rounding import GROSS, asymmetry_allowed

ValueFn = Callable[[Any], jax.Array]

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
    "no derivative",
)
"""What a check can come to; an `Escape` holds the place in this list."""
NO_CHECK, ESCAPED, PERTURBED, NO_NEGATIVE, BATCH_ALONE, NO_LOWER, VANISHES, NOTHING_MOVES, NOT_FINITE, NO_DERIVATIVE = (
    range(len(OUTCOMES))
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
    value_fn: ValueFn,
    held_out_value_fn: ValueFn | None,
    params: Any,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
    mask: Any = None,
    types: Any = None,
    division: Division | None = None,
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
        division: of the chosen parameters; None where every device holds them whole.

    Returns:
        A step of the structure of `params`, zeros where none is taken, and the evidence.

    >>> saddle = lambda w: w[0] ** 2 - w[1] ** 2
    >>> look = jax.jit(lambda point, key: attempt(saddle, None, point, key, 100, Options()))
    >>> step, found = look(jnp.zeros(2), jax.random.key(0))
    >>> OUTCOMES[int(found.outcome)], bool(jnp.abs(step[1]) > 10 * jnp.abs(step[0]))
    ('escaped', True)
    """
    # TensorFloat-32 and bfloat16 products keep too few digits for curvature, and for small differences of losses.
    with jax.default_matmul_precision("highest"):
        chosen, rest = trees.split(params, mask)
        wanted = trees.split_like(params if types is None else types, chosen)
        if division is None:
            point, split = joined(chosen, wanted)
        else:
            point, split, division = apart(chosen, wanted, division)
        value_fns: list[ValueFn] = [
            Scalar(_OfVectors(fn, split, rest)) for fn in (value_fn, held_out_value_fn) if fn is not None
        ]
        step, found = _attempt(value_fns, point, key, max_products, options, division)
        return trees.merge(split(step), jax.tree.map(jnp.zeros_like, rest)), found


@dataclasses.dataclass(frozen=True, eq=False)
class _OfVectors:
    """A function of the chosen parameters as vectors, the rest held where it is."""

    function: ValueFn
    split: Callable[[Vectors], Any]
    rest: Any

    def __call__(self, point: Vectors) -> jax.Array:
        return self.function(trees.merge(trees.widened(self.split(point)), self.rest))


def _attempt(
    value_fns: list[ValueFn],
    point: Vectors,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
    division: Division | None,
) -> tuple[Vectors, Escape]:
    direction_key, beside_key, noise_key = jax.random.split(key, 3)
    wide = trees.widened(point)
    operator = dataclasses.replace(hessian(value_fns[0], wide), division=division)
    # Sums and ratios of losses in bfloat16 would be rounded once more.
    dtype = jnp.promote_types(operator.loss.dtype, jnp.float32)
    leftmost, asymmetry = _leftmost(operator, direction_key, max_products, options)
    u, residual = jax.tree.map(lambda leaf: leaf[0], leftmost.vectors), leftmost.residuals[0]
    # The gradient and Hu.
    held_out = [jax.jvp(jax.grad(fn), (wide,), (u,)) for fn in value_fns[1:]]
    others = [trees.dot(u, product) for _, product in held_out]
    curvatures = jnp.stack([part.astype(dtype) for part in (leftmost.values[0], *others)])

    def losses_at(step: Vectors) -> jax.Array:
        # The loss of what is returned: compilers skip the rounding to a narrow type and back where they may.
        moved = jax.tree.map(_really_rounded, optax.apply_updates(point, step))
        return jnp.stack([fn(moved).astype(dtype) for fn in value_fns])

    # A Rayleigh quotient, so certain on its batch also while its vector is no eigenvector yet; not so its rounding,
    # which is a part of every residual.
    negative = curvatures[0] < -residual / 10
    # Spurious curvature, of the batch alone, is a third or less of itself elsewhere.
    is_derivative = asymmetry <= max(GROSS, asymmetry_allowed(operator))
    certified = is_derivative & negative & jnp.all(curvatures <= curvatures[0] / 2)
    norm = trees.norm(wide).astype(dtype)
    way = line_search.along(
        lambda distance: losses_at(_step(distance, u)),
        curvatures,
        wanted=certified,
        longest=10 * (1 + norm),
        norm=norm,
        moving=_length_along(u, wide).astype(dtype),
        min_decrease=options.min_decrease,
        precision=float(jnp.finfo(operator.loss.dtype).eps),
    )
    finite = jnp.all(jnp.isfinite(way.before)) & jnp.isfinite(curvatures[0])
    outcome = _first_failure(finite, is_derivative, negative, certified, way.distance != 0)
    unresolved = (outcome != ESCAPED) & (outcome != NOT_FINITE) & (outcome != NO_DERIVATIVE)

    def explained() -> jax.Array:
        derivatives = held_out[0] if held_out else (operator.gradient, operator.apply(u))
        here = share_reached(operator.gradient, *derivatives)
        return _explained(outcome, here, share_reached(gradient_beside(value_fns[0], point, beside_key)))

    outcome = jax.lax.cond(unresolved, explained, lambda: outcome)
    step, after, distance, trials = _step(way.distance, u), way.losses, jnp.abs(way.distance), way.trials
    if options.noise:
        noise, losses, more = most_noise(losses_at, _step, point, way.before, noise_key, outcome == VANISHES)
        length = trees.norm(noise)
        perturbed = length > 0
        outcome, step, after, distance = jax.tree.map(
            lambda new, old: jnp.where(perturbed, new, old),
            (jnp.int32(PERTURBED), noise, losses, length),
            (outcome, step, after, distance),
        )
        trials = trials + more
    return step, Escape(
        outcome.astype(jnp.int32),
        curvatures[0],
        residual,
        curvatures[-1],
        way.before[0],
        after[0],
        way.before[-1],
        after[-1],
        distance,
        leftmost.products + (1 if held_out else unresolved),
        len(value_fns) * trials,
    )


def _leftmost(
    operator: Operator, key: jax.Array, max_products: jax.Array | int, options: Options
) -> tuple[Eigenpairs, jax.Array]:
    return lanczos(
        operator.apply,
        operator.like,
        key,
        _TOL,
        k=1,
        which="smallest",
        basis_size=min(options.basis_size, operator.size + 1),
        # One product is for the held-out batch, or for a look at what derivatives reach.
        max_products=max_products - 1,
        negative_tol=_DIRECTION_TOL,
        sharding=operator.division,
    )


def _first_failure(
    finite: jax.Array, is_derivative: jax.Array, negative: jax.Array, certified: jax.Array, escaped: jax.Array
) -> jax.Array:
    outcome = jnp.where(escaped, ESCAPED, NO_LOWER)
    failures = (
        (certified, BATCH_ALONE),
        (negative, NO_NEGATIVE),
        (is_derivative, NO_DERIVATIVE),
        (finite, NOT_FINITE),
    )
    for holds, failure in failures:
        outcome = jnp.where(holds, outcome, failure)
    return outcome


def _explained(outcome: jax.Array, here: jax.Array, beside: jax.Array) -> jax.Array:
    """An outcome without a way out, or why there is none: by what derivatives reach at the point and beside it."""
    explained = jnp.where(beside < _DEAD, NOTHING_MOVES, outcome)
    return jnp.where((here < _MOST_OF) & (beside > 2 * here), VANISHES, explained)


def _length_along(u: Vectors, point: Vectors) -> jax.Array:
    """How long the parameters are that u moves: their mean square by its squares, times how many those are alike."""
    moved, squares = jax.tree.map(jnp.multiply, u, point), jax.tree.map(jnp.multiply, u, u)
    alike = trees.norm(moved) / jnp.maximum(trees.norm(squares), jnp.finfo(jnp.float32).tiny)
    return jnp.minimum(alike, trees.norm(point))


def _step(length: jax.Array, direction: Vectors) -> Vectors:
    """In the types that it is to have; zeros of a length of 0 also where the direction is not finite."""
    steps = {kind: jnp.where(length == 0, 0, length * leaf) for kind, leaf in direction.items()}
    return {kind: _really_rounded(leaf.astype(kind[1])) for kind, leaf in steps.items()}


def _really_rounded(leaf: jax.Array) -> jax.Array:
    kind = jnp.finfo(leaf.dtype)
    return jax.lax.reduce_precision(leaf, kind.nexp, kind.nmant) if kind.bits < 32 else leaf
