"""Whether a loss has stopped falling, as pure functions on a small state; usable inside `jit`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_not_negative

__all__ = ["PlateauState", "close_window", "count", "init", "update"]


class PlateauState(NamedTuple):
    """The sum of the values in the window so far, their number, the mean of the window before, and how many windows
    in a row brought too little."""

    total: jax.Array
    values: jax.Array
    previous_mean: jax.Array
    windows: jax.Array


def init() -> PlateauState:
    """The state before the first value.

    Returns:
        Scalars of float32 and int32.

    >>> int(init().windows)
    0

    Source: the lectures on a training that is stuck.
    """
    return PlateauState(jnp.float32(0), jnp.int32(0), jnp.float32(jnp.inf), jnp.int32(0))


def update(
    state: PlateauState,
    value: jax.typing.ArrayLike,
    window: int | jax.Array,
    min_improvement: float | jax.Array = 0.01,
) -> tuple[PlateauState, jax.Array]:
    """Takes one more value, the lower the better, into account.

    Values are averaged over windows that follow one another, which noisy losses of mini-batches need. A window is on
    a plateau when mean >= previous mean - min_improvement |previous mean|. The first window never is, and neither is
    one with a value that is not finite, nor the one after it.

    Args:
        state: the state so far.
        value: a scalar.
        window: values in a window, 1 or more.
        min_improvement: the share of the previous mean by which the mean must fall, and more.

    Returns:
        The new state, scalars of float32 and int32, and whether a window on a plateau ends with this value.

    Raises:
        ValueError: for a window below 1, or a negative improvement.

    >>> state = init()
    >>> for value in (4.0, 3.0, 2.0, 2.0, 2.0):
    ...     state, on_plateau = update(state, jnp.float32(value), window=1)
    >>> bool(on_plateau), int(state.windows)
    (True, 2)

    Source: the lectures on a training that is stuck.
    """
    require_integer("window", window, least=1)
    require_not_negative("min_improvement", min_improvement)
    counted = count(state, value)
    ends = counted.values >= window
    closed, on_plateau = close_window(counted, min_improvement)
    return jax.tree.map(lambda new, old: jnp.where(ends, new, old), closed, counted), ends & on_plateau


def count(state: PlateauState, value: jax.typing.ArrayLike) -> PlateauState:
    """Adds a value to the window, the part of `update` that every value needs.

    Args:
        state: the state so far.
        value: a scalar.

    Returns:
        The new state; its window ends when it has enough `values`.

    >>> int(count(init(), 2.5).values)
    1
    """
    return state._replace(total=state.total + jnp.asarray(value, jnp.float32), values=state.values + 1)


def close_window(state: PlateauState, min_improvement: float | jax.Array) -> tuple[PlateauState, jax.Array]:
    """Compares the window with the one before and begins the next, the other part of `update`.

    Args:
        state: at the end of a window.
        min_improvement: as for `update`.

    Returns:
        The new state, and whether the window was on a plateau.

    >>> state, on_plateau = close_window(count(init(), 2.5), 0.01)
    >>> float(state.previous_mean), bool(on_plateau)
    (2.5, False)
    """
    mean = state.total / state.values
    required = state.previous_mean - min_improvement * jnp.abs(state.previous_mean)
    stuck = jnp.isfinite(mean) & jnp.isfinite(state.previous_mean) & (mean >= required)
    windows = jnp.where(stuck, state.windows + 1, 0)
    return PlateauState(jnp.zeros_like(state.total), jnp.zeros_like(state.values), mean, windows), stuck
