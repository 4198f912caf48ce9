"""Descent on small surfaces with the transforms of this package: all of the way, or when it arrives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Gradient = Callable[[jax.Array, jax.Array], jax.Array]
"""`gradient(point, update)`, with the number of the update, from 0, for what is noisy or comes in batches."""


class Way(NamedTuple):
    """Every update of a descent; those of many by `jax.vmap`."""

    points: jax.Array
    """(updates + 1, ...), the start first."""
    gradients: jax.Array
    """(updates, ...)."""
    steps: jax.Array
    """(updates, ...), what was added to the point."""


def follow(gradient: Gradient, transformation: Any, start: jax.Array, updates: int) -> Way:
    """Descends, and keeps all of it.

    Args:
        gradient: of the surface.
        transformation: of optax, with its learning rate.
        start: array of any shape.
        updates: how many.

    Returns:
        `Way`.

    >>> from tricks.transforms import momentum
    >>> follow(lambda w, _: w, momentum(0.5, 0.0), jnp.ones(1), 2).points.ravel().tolist()
    [1.0, 0.5, 0.25]
    """

    def update(carry: tuple[jax.Array, Any], number: jax.Array) -> tuple[tuple[jax.Array, Any], Way]:
        point, state = carry
        g = gradient(point, number)
        step, state = transformation.update(g, state, point)
        return (point + step, state), Way(point, g, step)

    (last, _), way = jax.lax.scan(update, (start, transformation.init(start)), jnp.arange(updates))
    return way._replace(points=jnp.concatenate([way.points, last[None]]))


def updates_until(
    arrived: Callable[[jax.Array], jax.Array],
    gradient: Gradient,
    transformation: Any,
    start: jax.Array,
    most: int,
    *,
    stays: int = 1,
) -> jax.Array:
    """Descends until it arrives.

    Args:
        arrived: of a point, whether it is there.
        gradient: of the surface.
        transformation: of optax, with its learning rate.
        start: array of any shape.
        most: updates before it is given up.
        stays: points in a row that must be there, so that one that flies past has not arrived.

    Returns:
        Updates done to the first of these points, a scalar; `most` where there was none.

    >>> from tricks.transforms import momentum
    >>> int(updates_until(lambda w: w[0] < 0.2, lambda w, _: w, momentum(0.5, 0.0), jnp.ones(1), 100))
    3
    """
    Carry = tuple[jax.Array, Any, jax.Array, jax.Array]

    def goes_on(carry: Carry) -> jax.Array:
        _, _, number, there = carry
        return (number < most + stays - 1) & (there < stays)

    def update(carry: Carry) -> Carry:
        point, state, number, there = carry
        step, state = transformation.update(gradient(point, number), state, point)
        point = point + step
        return point, state, number + 1, jnp.where(arrived(point), there + 1, 0)

    first = jnp.where(arrived(start), jnp.int32(1), 0)
    _, _, number, there = jax.lax.while_loop(goes_on, update, (start, transformation.init(start), jnp.int32(0), first))
    return jnp.where(there >= stays, number - (stays - 1), most)


def best_of_rates(updates: Any) -> int:
    """The rate that serves best where one is to serve all.

    Args:
        updates: (runs, rates), what each run needs with each rate.

    Returns:
        Its index: the lowest geometric mean over the runs, the first of equals.

    >>> best_of_rates([[10, 30, 900], [1000, 40, 20]])
    1
    """
    return int(np.argmin(np.mean(np.log(np.asarray(updates, np.float64)), 0)))
