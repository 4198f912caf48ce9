"""Where second derivatives show no way: how far gradients and curvature reach, and noise in their place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.curvature import trees
from tricks.curvature.products import Operator

MOST_TRIALS = 24
_SMALLEST, _GROWTH = 1e-3, 1.5
_RISE = 0.01  # Of the loss.


def shares_reached(
    value_fn: Callable[[Any], jax.Array], operator: Operator, params: Any, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How much of the parameters derivatives reach, here and a little beside.

    Where they reach little here and more beside, they vanish here alone, as at 0 of a product of three. Where they
    reach little in both, units are dead.

    Args:
        value_fn: the loss.
        operator: its Hessian at the point, with its gradient.
        params: the point.
        key: of a random vector and of the place beside.

    Returns:
        The share of entries that the gradient or a product with a random vector reaches at the point, and the share
        that the gradient reaches beside it.

    >>> from tricks.curvature.products import hessian
    >>> point, product = jnp.zeros(3), jnp.prod
    >>> [float(share) for share in shares_reached(product, hessian(product, point), point, jax.random.key(0))]
    [0.0, 1.0]
    """
    direction = trees.random_normal(key, params)
    product = operator.apply(jax.tree.map(lambda z, v: z.astype(v.dtype), direction, operator.like))
    here = jax.tree.map(lambda g, h: jnp.abs(g) + jnp.abs(h), operator.gradient, product)
    beside = jax.grad(value_fn)(optax.apply_updates(params, trees.scale(_SMALLEST, direction)))
    return _share_of_nonzero(here), _share_of_nonzero(beside)


def _share_of_nonzero(tree: Any) -> jax.Array:
    counts = [jnp.count_nonzero(leaf) for leaf in jax.tree.leaves(tree)]
    return sum(counts, jnp.zeros([])) / trees.size(tree)


class _Growth(NamedTuple):
    sigma: jax.Array  # of the next trial
    best: jax.Array
    losses: jax.Array
    trials: jax.Array
    rises: jax.Array  # whether the last was too much


def most_noise(
    losses_at: Callable[[Any], jax.Array],
    step_of: Callable[[jax.Array, Any], Any],
    like: Any,
    before: jax.Array,
    key: jax.Array,
    wanted: jax.Array,
) -> tuple[Any, jax.Array, jax.Array]:
    """The most Gaussian noise, of 0.001 1.5^k, that raises no loss by more than 1 %.

    Args:
        losses_at: step -> (losses,).
        step_of: length and direction -> a step.
        like: a pytree of the shapes of the parameters.
        before: (losses,) without a step.
        key: of the noise.
        wanted: a boolean; otherwise nothing is tried.

    Returns:
        A step, zeros where there is no such noise or none is wanted; the losses after it; and the trials.
    """
    direction = trees.random_normal(key, like)

    def grown(tried: _Growth) -> _Growth:
        losses = losses_at(step_of(tried.sigma, direction))
        rises = ~jnp.all(losses <= before + _RISE * jnp.abs(before))
        best, losses = jnp.where(rises, tried.best, tried.sigma), jnp.where(rises, tried.losses, losses)
        return _Growth(tried.sigma * _GROWTH, best, losses, tried.trials + 1, rises)

    zero = jnp.zeros([], before.dtype)
    start = _Growth(zero + _SMALLEST, zero, before, jnp.int32(0), ~wanted)
    end = jax.lax.while_loop(lambda tried: ~tried.rises & (tried.trials < MOST_TRIALS), grown, start)
    # Where the loss never rises, nothing that moves it was found, and a larger step would be a leap in the dark.
    sigma = jnp.where(end.rises, end.best, 0)
    return step_of(sigma, direction), jnp.where(sigma > 0, end.losses, before), end.trials
