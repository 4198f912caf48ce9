"""How far to go along a direction of negative curvature, and which way."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_PREDICTED = 0.1  # Share of the loss by which the first length lowers it, if it is a parabola.
_NEAR = 0.1  # Share of the length of the parameters that changes a network.
_LEAST = 1e-3  # Share of a parabola over the length of the parameters that the loss counts as at least at first.
_DEMANDED = 0.1  # Share of what the parabola predicts that a step must bring.
MOST_TRIALS = 30  # At other distances than 0.
_ROUNDING = 4  # Of the precision times the loss: a difference that means nothing.


class Found(NamedTuple):
    """A step, and what it brings; `distance` 0 where none was found."""

    distance: jax.Array
    """Signed, along the direction."""
    before: jax.Array
    """(losses,) at distance 0."""
    losses: jax.Array
    """(losses,) after the step, or before where there is none."""
    trials: jax.Array
    """How often the losses were taken, at distance 0 first."""


class _Search(NamedTuple):
    distance: jax.Array  # of the next trial, signed; 0 is the first
    best: Found
    gain: jax.Array  # of the best
    growing: jax.Array
    done: jax.Array


def along(
    losses_at: Callable[[jax.Array], jax.Array],
    curvatures: jax.Array,
    *,
    longest: jax.Array,
    norm: jax.Array | float = jnp.inf,
    moving: jax.Array | float = jnp.inf,
    min_decrease: float,
    wanted: jax.Array | bool = True,
    precision: float | None = None,
) -> Found:
    """Looks both ways, shorter until the losses fall enough, then longer as long as they fall more.

    What can be gained is G = min(|f|, |c| (1 + |v| / 10)^2 / 2), f the loss and the latter what a parabola of its
    curvature c falls by over a tenth of the length of the parameters v that move: a constant in a loss is no gain. A
    step of length a is accepted where every loss falls by max(min_decrease G, |c| a^2 / 20), a counted up to the first
    length tried, at which the parabola falls by a tenth of |f|, which counts as P / 1000 to P, P = |c| (1 + |w|)^2 / 2
    with all parameters w. What is not finite has not fallen. Nothing is tried from losses that are not finite.

    Args:
        losses_at: signed distance -> (losses,), of one batch or more, in the type of the curvatures. It is called once
            here, in a loop, for all distances.
        curvatures: (losses,) second derivatives along the direction, at distance 0, negative; float32 at least.
        longest: the largest length of the first trial, and of those that go on from it.
        norm: |w|.
        moving: |v|.
        min_decrease: share of what can be gained that a step must bring.
        wanted: whether anything is tried, or only the losses before are told.
        precision: of the losses, where it is coarser than their type.

    Returns:
        `Found`.

    >>> double_well = lambda x: jnp.array([x**4 - x**2])
    >>> at = along(double_well, jnp.array([-2.0]), longest=jnp.float32(9), min_decrease=0.01)
    >>> round(abs(float(at.distance)), 2), round(float(at.losses[0]), 3)
    (0.56, -0.216)

    Source: Alain et al., arXiv 1902.02366, who find that the best length does not follow from the curvature.
    """
    precision = float(jnp.finfo(curvatures.dtype).eps) if precision is None else precision

    def trial(search: _Search) -> _Search:
        losses, is_first = losses_at(search.distance), search.best.trials == 0
        before = jnp.where(is_first, losses, search.best.before)
        near, most = (jnp.abs(curvatures) / 2 * (1 + length) ** 2 for length in (_NEAR * moving, norm))
        size = jnp.minimum(jnp.abs(before), near)
        # Nor does a constant that makes a loss 0 leave nothing to look for.
        least = jnp.where(jnp.isfinite(most), _LEAST * most, 0)
        likely = jnp.minimum(jnp.maximum(jnp.abs(before), least), most)
        parabola = jnp.sqrt(2 * _PREDICTED * likely[0] / jnp.abs(curvatures[0]))
        first = jnp.where(parabola > 0, jnp.minimum(parabola, longest), longest)
        length = jnp.minimum(jnp.abs(search.distance), first)
        demanded = jnp.maximum(min_decrease * size, _DEMANDED * jnp.abs(curvatures) / 2 * length**2)
        demanded = jnp.maximum(demanded, _ROUNDING * precision * jnp.abs(before))
        enough = jnp.all((before - losses >= demanded) & jnp.isfinite(losses)) & ~is_first
        gain = jnp.where(enough, jnp.min(before - losses), -jnp.inf)
        better = gain > search.gain
        trials = search.best.trials + 1
        distance = jnp.where(better, search.distance, search.best.distance)
        best = Found(distance, before, jnp.where(better | is_first, losses, search.best.losses), trials)
        other_way = ~search.growing & (search.distance > 0)
        growing = search.growing | (~other_way & (distance != 0))
        # Back to the first way, shorter, is minus a quarter.
        following = jnp.where(other_way, -search.distance, jnp.where(growing, 2 * distance, -search.distance / 4))
        too_long = growing & (jnp.abs(following) > longest)
        done = (search.growing & ~better) | too_long | (trials > MOST_TRIALS)
        return _Search(
            jnp.where(is_first, first, following),
            best,
            jnp.maximum(gain, search.gain),
            growing,
            jnp.where(is_first, ~(wanted & jnp.all(jnp.isfinite(losses))), done),
        )

    zero, zeros = jnp.zeros([], curvatures.dtype), jnp.zeros_like(curvatures)
    start = _Search(zero, Found(zero, zeros, zeros, jnp.int32(0)), zero - jnp.inf, jnp.bool_(False), jnp.bool_(False))
    return jax.lax.while_loop(lambda search: ~search.done, trial, start).best
