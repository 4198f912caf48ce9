"""Where second derivatives show no way: how far gradients and curvature reach, and noise in their place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from tricks.curvature import trees
from tricks.random_words import random_words

MOST_TRIALS = 24
_SMALLEST, _GROWTH = 1e-3, 1.5
_RISE = 0.01  # Of the loss.


def share_reached(*derivatives: Any) -> jax.Array:
    """The share of entries at which any of some derivatives is not 0.

    Args:
        derivatives: pytrees of one structure, as gradients and products are.

    Returns:
        A scalar from 0 to 1.

    >>> float(share_reached(jnp.array([0.0, 1.0, 0.0, 0.0]), jnp.array([0.0, -1.0, 2.0, 0.0])))
    0.5
    """
    reached = jax.tree.map(lambda *leaves: sum(jnp.abs(leaf) for leaf in leaves) != 0, *derivatives)
    counts = [jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(reached)]
    return sum(counts, jnp.zeros([])) / trees.size(reached)


def gradient_beside(value_fn: Callable[[Any], jax.Array], params: Any, key: jax.Array) -> Any:
    """The gradient a little beside a point, in a random direction.

    Where derivatives reach little at a point and more beside it, they vanish there alone, as at 0 of a product of
    three. Where they reach little in both, units are dead.

    Args:
        value_fn: the loss.
        params: the point.
        key: of the direction.

    Returns:
        A pytree as the parameters.

    >>> share_reached(gradient_beside(jnp.prod, jnp.zeros(3), jax.random.key(0))).tolist()
    1.0
    """
    flat, unravel = ravel_pytree(params)
    first, second = jnp.ravel(jax.random.key_data(key))[:2]
    # Words of 0 would give a direction that is 0 at its first entry.
    words = random_words(~first, ~second, flat.shape)
    direction = jax.lax.bitcast_convert_type(words, jnp.int32).astype(jnp.float32) / 2.0**31
    return jax.grad(value_fn)(unravel((flat + _SMALLEST * 3**0.5 * direction).astype(flat.dtype)))


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
