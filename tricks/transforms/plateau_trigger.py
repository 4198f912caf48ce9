"""What the wrappers that leave plateaus share: the checks of their arguments, and sums of steps."""

from typing import Any

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_not_negative

LATEST = 2**30
"""Steps; windows and cooldowns are no longer."""


def later(steps: jax.Array, pause: Any) -> jax.Array:
    """steps + pause, or the largest integer where that is too large.

    >>> int(later(jnp.int32(2**31 - 2), 5)) == 2**31 - 1
    True
    """
    return steps + jnp.minimum(pause, jnp.iinfo(steps.dtype).max - steps)


def require_trigger(window: Any, min_improvement: Any, cooldown: Any) -> None:
    """Refuses a trigger that is out of range.

    Raises:
        ValueError: with the name, the value, and what is allowed.
    """
    require_integer("window", window, least=1, most=LATEST)
    require_not_negative("min_improvement", min_improvement)
    if cooldown is not None:
        require_integer("cooldown", cooldown, least=0, most=LATEST)


def require_value(value: Any, value_fn: Any) -> None:
    """Refuses an update without the loss, or without the function that gives it.

    Raises:
        ValueError: with the name of what is missing and how to give it.
    """
    for name, given, what in (
        ("value", value, "the training loss of this step"),
        ("value_fn", value_fn, "a function of the parameters, the loss on a batch of its own"),
    ):
        if given is None:
            raise ValueError(
                f"{name} is missing: call update(gradient, state, params, value=loss, value_fn=loss_of_params); {name} "
                f"is {what}"
            )
    if jnp.shape(value) != ():
        raise ValueError(f"value has the shape {jnp.shape(value)}; allowed: a scalar, the training loss of this step")
