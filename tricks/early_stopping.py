"""When to stop, as pure functions on a small state; usable inside `jit`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_not_negative

__all__ = ["EarlyStoppingState", "init", "should_stop", "update"]


class EarlyStoppingState(NamedTuple):
    """The best value so far, the step it was seen at (-1: none yet), and the checks in a row without improvement."""

    best_value: jax.Array
    best_step: jax.Array
    checks_since_best: jax.Array


def init() -> EarlyStoppingState:
    """The state before the first check.

    Returns:
        Scalars of float32 and int32.

    >>> int(init().best_step)
    -1

    Source: the lectures on regularization.
    """
    return EarlyStoppingState(jnp.float32(jnp.inf), jnp.int32(-1), jnp.int32(0))


def update(
    state: EarlyStoppingState,
    value: jax.typing.ArrayLike,
    step: jax.typing.ArrayLike,
    min_delta: float | jax.Array = 0.0,
) -> tuple[EarlyStoppingState, jax.Array]:
    """Takes one more value, the lower the better, into account.

    It improves when it is finite and value < best - min_delta. A value that is not finite never counts as best.

    Args:
        state: the state so far.
        value: a scalar; pass minus an accuracy.
        step: the step it was measured at.
        min_delta: an improvement must be larger than this.

    Returns:
        The new state, scalars of float32 and int32, and whether this value is the new best.

    Raises:
        ValueError: for a negative min_delta.

    >>> state, improved = update(init(), jnp.float32(jnp.nan), 1)
    >>> bool(improved), int(state.checks_since_best)
    (False, 1)
    >>> state, improved = update(state, jnp.float32(0.5), 2)
    >>> bool(improved), int(state.best_step)
    (True, 2)

    Source: the lectures on regularization.
    """
    require_not_negative("min_delta", min_delta)
    value = jnp.asarray(value, jnp.float32)
    improved = jnp.isfinite(value) & (value < state.best_value - min_delta)
    return EarlyStoppingState(
        jnp.where(improved, value, state.best_value),
        jnp.where(improved, jnp.asarray(step, jnp.int32), state.best_step),
        jnp.where(improved, 0, state.checks_since_best + 1),
    ), improved


def should_stop(state: EarlyStoppingState, patience: int | jax.Array) -> jax.Array:
    """Whether `patience` checks in a row brought no improvement; never for a patience of 0.

    Args:
        state: the state so far.
        patience: checks without improvement that are borne.

    Returns:
        A boolean scalar.

    Raises:
        ValueError: for a negative patience.

    >>> bool(should_stop(EarlyStoppingState(jnp.float32(1), jnp.int32(0), jnp.int32(2)), patience=2))
    True

    Source: the lectures on regularization.
    """
    require_integer("patience", patience, least=0)
    return (patience > 0) & (state.checks_since_best >= patience)
