"""Whether a loss has stopped falling, as pure functions on a small state; usable inside `jit`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_not_negative


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
    state: PlateauState, value: jax.Array, window: int, min_improvement: float = 0.01
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
    total = state.total + jnp.asarray(value, jnp.float32)
    values = state.values + 1
    ends = values >= window
    mean = total / values
    required = state.previous_mean - min_improvement * jnp.abs(state.previous_mean)
    stuck = jnp.isfinite(mean) & jnp.isfinite(state.previous_mean) & (mean >= required)
    windows = jnp.where(stuck, state.windows + 1, 0)
    return PlateauState(
        jnp.where(ends, 0, total),
        jnp.where(ends, 0, values),
        jnp.where(ends, mean, state.previous_mean),
        jnp.where(ends, windows, state.windows),
    ), ends & stuck
