"""How far to go along a direction of negative curvature, and which way."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_PREDICTED = 0.1  # Share of the loss by which the first length lowers it, if it is a parabola.
_DEMANDED = 0.1  # Share of what the parabola predicts that a step must bring.
MOST_TRIALS = 30
_ROUNDING = 4  # Of the precision times the loss: a difference that means nothing.


class Found(NamedTuple):
    """A step, and what it brings; `distance` 0 where none was found."""

    distance: jax.Array
    """Signed, along the direction."""
    losses: jax.Array
    """(losses,) after the step, or before where there is none."""
    trials: jax.Array


class _Search(NamedTuple):
    distance: jax.Array  # of the next trial, signed
    best: Found
    gain: jax.Array  # of the best
    growing: jax.Array
    done: jax.Array


def along(
    losses_at: Callable[[jax.Array], jax.Array],
    before: jax.Array,
    curvatures: jax.Array,
    *,
    longest: jax.Array,
    min_decrease: float,
    precision: float | None = None,
) -> Found:
    """Looks both ways, shorter until the losses fall enough, then longer as long as they fall more.

    A step of length a is accepted where every loss f falls by max(min_decrease |f|, |c| a^2 / 20), c its curvature and
    a counted up to the first length tried, at which a parabola falls by a tenth of the loss. What is not finite has
    not fallen.

    Args:
        losses_at: signed distance -> (losses,), of one batch or more.
        before: (losses,) at distance 0, in float32 at least.
        curvatures: (losses,) second derivatives along the direction, at distance 0, negative.
        longest: the largest length of the first trial, and of those that go on from it.
        min_decrease: share of each loss that a step must lower it by.
        precision: of the losses, where it is coarser than their type.

    Returns:
        `Found`.

    >>> double_well = lambda x: jnp.array([x**4 - x**2])
    >>> at = along(double_well, jnp.zeros(1), jnp.array([-2.0]), longest=jnp.float32(9), min_decrease=0.01)
    >>> round(abs(float(at.distance)), 2), round(float(at.losses[0]), 3)
    (0.56, -0.216)

    Source: Alain et al., arXiv 1902.02366, who find that the best length does not follow from the curvature.
    """
    size = jnp.abs(before)
    parabola = jnp.sqrt(2 * _PREDICTED * size[0] / jnp.abs(curvatures[0]))
    first = jnp.where(parabola > 0, jnp.minimum(parabola, longest), longest)
    precision = float(jnp.finfo(before.dtype).eps) if precision is None else precision
    least = max(min_decrease, _ROUNDING * precision) * size

    def gain(distance: jax.Array, losses: jax.Array) -> jax.Array:
        length = jnp.minimum(jnp.abs(distance), first)
        demanded = jnp.maximum(least, _DEMANDED * jnp.abs(curvatures) / 2 * length**2)
        enough = jnp.all(before - losses >= demanded) & jnp.all(jnp.isfinite(losses))
        return jnp.where(enough, jnp.min(before - losses), -jnp.inf)

    def trial(search: _Search) -> _Search:
        losses = losses_at(search.distance)
        gained = gain(search.distance, losses)
        better = gained > search.gain
        tried = Found(search.distance, losses, search.best.trials)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), tried, search.best)
        best = best._replace(trials=search.best.trials + 1)
        other_way = ~search.growing & (search.distance > 0)
        growing = search.growing | (~other_way & (best.distance != 0))
        # Back to the first way, shorter, is minus a quarter.
        following = jnp.where(other_way, -search.distance, jnp.where(growing, 2 * best.distance, -search.distance / 4))
        too_long = growing & (jnp.abs(following) > longest)
        done = (search.growing & ~better) | too_long | (best.trials >= MOST_TRIALS)
        return _Search(following, best, jnp.maximum(gained, search.gain), growing, done)

    nothing = Found(jnp.zeros_like(first), before, jnp.int32(0))
    start = _Search(first, nothing, jnp.full_like(first, -jnp.inf), jnp.bool_(False), ~jnp.all(jnp.isfinite(before)))
    return jax.lax.while_loop(lambda search: ~search.done, trial, start).best
