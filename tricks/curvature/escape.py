"""A way out of a saddle along negative curvature, that never makes the loss worse."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require, require_integer
from tricks.curvature import line_search, trees
from tricks.curvature.batches import grouped, mean_over
from tricks.curvature.lanczos import lanczos
from tricks.curvature.memory import require_memory
from tricks.curvature.products import Loss, Operator, Scalar, hashable, hessian, hvp

OUTCOMES = (
    "no check",
    "escaped",
    "perturbed",
    "no negative curvature",
    "curvature of the batch alone",
    "no lower loss",
    "nothing moves",
    "not finite",
)
"""What a check can come to; an `Escape` holds the place in this list."""
NO_CHECK, ESCAPED, PERTURBED, NO_NEGATIVE, BATCH_ALONE, NO_LOWER, NOTHING_MOVES, NOT_FINITE = range(len(OUTCOMES))

_DIRECTION_TOL = 0.3  # Residual as a share of the negative value, from which on its vector is a good enough way out.
_TOL = 1e-4  # Residual as a share of the norm, from which on there is no negative curvature that counts.
_REACHED = 0.01  # Share of the parameters that gradient and curvature must reach.
_SMALLEST_NOISE, _GROWTH, _MOST_GROWTHS, _RISE = 1e-3, 1.5, 24, 0.01


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
    return 2 * (1 + line_search.MOST_TRIALS + _MOST_GROWTHS * options.noise)


def nothing(dtype: Any = jnp.float32) -> Escape:
    """The evidence before any check.

    >>> nothing().reason
    'no check'
    """
    counted = ("outcome", "products", "evaluations")
    return Escape(**{name: jnp.zeros([], jnp.int32 if name in counted else dtype) for name in Escape._fields})


def escape(
    loss_fn: Loss,
    params: Any,
    batches: Sequence[Any] | None = None,
    *,
    held_out: Sequence[Any] | None = None,
    key: jax.Array,
    min_decrease: float = 0.01,
    max_products: int = 120,
    basis_size: int = 40,
    noise: bool = False,
) -> tuple[Any, Escape]:
    """Leaves a saddle along its most negative curvature, where that lowers the loss; else gives the parameters back.

    Lanczos from a random start finds a direction u of negative curvature, by Hessian-vector products. On the held-out
    batches its curvature must be at least half as negative. Then both ways along u are tried, shorter and longer, and
    a step is taken only where the loss falls enough on both, as measured. One call costs about as much as a dozen
    gradients at a clear saddle, and `max_products` of them at most where there is no way out.

    Args:
        loss_fn: `loss_fn(params) -> scalar`, or with `batches` `loss_fn(params, batch) -> scalar`, the mean over the
            batch; the same at every call (no dropout, or one mask).
        params: the point, any pytree of floating-point arrays.
        batches: pytrees of arrays whose first dimension counts examples; None for a loss of the parameters alone.
        held_out: other batches of the same kind. None takes the loss as exact: right for all the data, wrong for a
            sample, whose curvature is always partly its own.
        key: of the random start.
        min_decrease: share of the loss that a step must lower it by.
        max_products: of Hessian-vector products.
        basis_size: vectors of the size of the parameters that are kept in memory; 8 more at most.
        noise: where curvature has no answer, take Gaussian noise instead: as much of it as raises the loss by 1 % at
            most. It alone leaves points where the second derivatives vanish, as of deep networks from zero.

    Returns:
        The new parameters (bit for bit the old ones where there is no way out), and the evidence, whose `reason` is
        one of `OUTCOMES`.

    Raises:
        ValueError: for arguments out of range, parameters that are not floating-point, a loss that is not a scalar, or
            batches without examples.

    >>> new, found = escape(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2), key=jax.random.key(0))
    >>> found.reason, bool(found.loss_after < 0.1), int(found.products)
    ('escaped', True, 2)

    Source: the lectures on critical points; Royer et al., arXiv 1803.02924, for Lanczos in place of the matrix.
    """
    require_options(min_decrease, max_products, basis_size)
    if held_out is not None and batches is None:
        raise ValueError("held_out is given without batches; allowed: with batches of the same kind")
    trees.require_floating("params", params)
    require_memory("basis_size", min(basis_size, trees.size(params)), params)
    options = Options(min_decrease, basis_size, noise)
    one, two = (None if part is None else grouped(part) for part in (batches, held_out))
    return _escape(hashable(loss_fn), options, params, one, two, key, max_products)


def require_options(min_decrease: Any, max_products: Any, basis_size: Any) -> None:
    """Refuses what is out of range.

    Raises:
        ValueError: with the name, the value, and what is allowed.
    """
    require("min_decrease", min_decrease, "0 <= min_decrease < 1", lambda x: 0 <= x < 1)
    require_integer("max_products", max_products, least=2)
    require_integer("basis_size", basis_size, least=5)


@partial(jax.jit, static_argnums=(0, 1))
def _escape(
    loss_fn: Loss, options: Options, params: Any, batches: Any, held_out: Any, key: jax.Array, max_products: jax.Array
) -> tuple[Any, Escape]:
    def over(part: Any) -> Callable[[Any], jax.Array]:
        return lambda p: mean_over(partial(loss_fn, p), *part)

    value_fn = loss_fn if batches is None else over(batches)
    held_out_value_fn = None if held_out is None else over(held_out)
    step, found = attempt(value_fn, held_out_value_fn, params, key, max_products, options)
    moved = (found.outcome == ESCAPED) | (found.outcome == PERTURBED)
    new = optax.apply_updates(params, step)
    return jax.tree.map(lambda after, before: jnp.where(moved, after, before), new, params), found


def attempt(
    value_fn: Callable[[Any], jax.Array],
    held_out_value_fn: Callable[[Any], jax.Array] | None,
    params: Any,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
) -> tuple[Any, Escape]:
    """`escape` as a step that is yet to be added, for use inside `jit`.

    Args:
        value_fn: `value_fn(params) -> loss`.
        held_out_value_fn: the same on held-out examples, or None.
        params: the point.
        key: of the random start.
        max_products: as for `escape`; may be traced.
        options: as for `escape`.

    Returns:
        A step of the structure and types of `params`, zeros where none is taken, and the evidence.

    >>> saddle = lambda w: w[0] ** 2 - w[1] ** 2
    >>> step, found = attempt(saddle, None, jnp.zeros(2), jax.random.key(0), 100, Options())
    >>> OUTCOMES[int(found.outcome)], bool(jnp.abs(step[1]) > 10 * jnp.abs(step[0]))
    ('escaped', True)
    """
    # TensorFloat-32 and bfloat16 products keep too few digits for curvature, and for small differences of losses.
    with jax.default_matmul_precision("highest"):
        return _attempt(value_fn, held_out_value_fn, params, key, max_products, options)


def _attempt(
    value_fn: Callable[[Any], jax.Array],
    held_out_value_fn: Callable[[Any], jax.Array] | None,
    params: Any,
    key: jax.Array,
    max_products: jax.Array | int,
    options: Options,
) -> tuple[Any, Escape]:
    value_fns = [Scalar(hashable(fn)) for fn in (value_fn, held_out_value_fn) if fn is not None]
    start_key, noise_key = jax.random.split(key)
    operator = hessian(value_fns[0], params)
    basis_size = min(options.basis_size, operator.size + 1)
    found, _ = lanczos(
        operator.apply,
        operator.like,
        start_key,
        _TOL,
        k=1,
        which="smallest",
        basis_size=basis_size,
        max_products=max_products,
        negative_tol=_DIRECTION_TOL,
    )
    u = jax.tree.map(lambda leaf: leaf[0], found.vectors)
    # Sums and ratios of losses in bfloat16 would be rounded once more.
    dtype = jnp.promote_types(operator.loss.dtype, jnp.float32)
    before = jnp.stack([operator.loss, *(fn(params) for fn in value_fns[1:])]).astype(dtype)
    curvatures = jnp.stack(
        [found.values[0].astype(dtype), *(trees.dot(u, hvp(fn, params, u)).astype(dtype) for fn in value_fns[1:])]
    )

    def losses_at(step: Any) -> jax.Array:
        moved = optax.apply_updates(params, step)
        losses = jnp.stack([fn(moved) for fn in value_fns]).astype(dtype)
        return jnp.where(jnp.isnan(losses), jnp.inf, losses)

    def along_u(distance: jax.Array) -> Any:
        return jax.tree.map(lambda leaf, p: (distance * leaf).astype(jnp.result_type(p)), u, params)

    # A Rayleigh quotient, so certain on its batch also while its vector is no eigenvector yet; not so its rounding,
    # which is a part of every residual.
    negative = curvatures[0] < -found.residuals[0] / 10
    # Spurious curvature, of the batch alone, is a third or less of itself elsewhere.
    certified = negative & jnp.all(curvatures <= curvatures[0] / 2)
    way = line_search.along(
        lambda distance: losses_at(along_u(distance)),
        # Nothing is tried from a point that is not finite, and so neither where there is no way.
        jnp.where(certified, before, jnp.nan),
        curvatures,
        longest=(10 * (1 + trees.norm(params))).astype(dtype),
        min_decrease=options.min_decrease,
        precision=float(jnp.finfo(operator.loss.dtype).eps),
    )
    escaped = way.distance != 0
    outcome = jnp.select(
        [~jnp.all(jnp.isfinite(before)) | ~jnp.isfinite(curvatures[0]), ~negative, ~certified, ~escaped],
        [NOT_FINITE, NO_NEGATIVE, BATCH_ALONE, NO_LOWER],
        ESCAPED,
    )
    is_dead = jax.lax.cond(negative, lambda: jnp.bool_(False), lambda: _reached(operator, noise_key) < _REACHED)
    outcome = jnp.where((outcome == NO_NEGATIVE) & is_dead, NOTHING_MOVES, outcome)
    after, distance = jnp.where(escaped, way.losses, before), way.distance
    step, evaluations = along_u(distance), len(value_fns) * (way.trials + 1)
    if options.noise:
        wanted = (outcome != ESCAPED) & (outcome != NOT_FINITE)
        noise, losses, trials = _noise(losses_at, params, before, noise_key, wanted)
        gradient = jax.grad(value_fns[0])(optax.apply_updates(params, noise))
        # Noise wakes no dead unit: then a step would be no help.
        perturbed = (trees.norm(noise) > 0) & ~(is_dead & (_share_of_nonzero(gradient) < _REACHED))
        step, after, distance = (
            jax.tree.map(lambda new, old: jnp.where(perturbed, new, old), new, old)
            for new, old in ((noise, step), (losses, after), (trees.norm(noise), distance))
        )
        outcome, evaluations = jnp.where(perturbed, PERTURBED, outcome), evaluations + len(value_fns) * trials
    return step, Escape(
        outcome.astype(jnp.int32),
        curvatures[0],
        found.residuals[0],
        curvatures[-1],
        before[0],
        after[0],
        before[-1],
        after[-1],
        jnp.abs(distance),
        found.products + len(value_fns) - 1 + ~negative,
        evaluations.astype(jnp.int32),
    )


def _reached(operator: Operator, key: jax.Array) -> jax.Array:
    """Share of the parameters that the gradient or a product with a random vector reaches."""
    product = operator.apply(trees.random_normal(key, operator.like))
    return _share_of_nonzero(jax.tree.map(lambda g, h: jnp.abs(g) + jnp.abs(h), operator.gradient, product))


def _share_of_nonzero(tree: Any) -> jax.Array:
    counts = [jnp.count_nonzero(leaf) for leaf in jax.tree.leaves(tree)]
    return sum(counts, jnp.zeros([])) / trees.size(tree)


class _Noise(NamedTuple):
    sigma: jax.Array  # of the next trial
    best: jax.Array
    losses: jax.Array
    trials: jax.Array
    rises: jax.Array  # whether the last was too much


def _noise(
    losses_at: Callable[[Any], jax.Array], params: Any, before: jax.Array, key: jax.Array, wanted: jax.Array
) -> tuple[Any, jax.Array, jax.Array]:
    """The most Gaussian noise that raises no loss by more than 1 %; zeros where there is no such."""
    direction = trees.random_normal(key, params)

    def noise(sigma: jax.Array) -> Any:
        return jax.tree.map(lambda z, p: (sigma * z).astype(jnp.result_type(p)), direction, params)

    def grown(tried: _Noise) -> _Noise:
        losses = losses_at(noise(tried.sigma))
        rises = ~jnp.all(losses <= before + _RISE * jnp.abs(before))
        best, losses = jnp.where(rises, tried.best, tried.sigma), jnp.where(rises, tried.losses, losses)
        return _Noise(tried.sigma * _GROWTH, best, losses, tried.trials + 1, rises)

    zero = jnp.zeros([], before.dtype)
    start = _Noise(zero + _SMALLEST_NOISE, zero, before, jnp.int32(0), ~wanted)
    end = jax.lax.while_loop(lambda tried: ~tried.rises & (tried.trials < _MOST_GROWTHS), grown, start)
    # Where the loss never rises, nothing that moves it was found, and a larger step would be a leap in the dark.
    sigma = jnp.where(end.rises, end.best, 0)
    return noise(sigma), jnp.where(sigma > 0, end.losses, before), end.trials
