"""What the wrappers that leave plateaus share: the checks of their arguments, and sums of steps."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_integer, require_not_negative

LATEST = 2**30
"""Steps; windows and cooldowns are no longer."""


def later(steps: jax.Array, pause: Any) -> jax.Array:
    """steps + pause, or the largest integer where that is too large.

    >>> int(later(jnp.int32(2**31 - 2), 5)) == 2**31 - 1
    True
    """
    return steps + jnp.minimum(pause, jnp.iinfo(steps.dtype).max - steps)


def require_window(window: Any, min_improvement: Any, cooldown: Any) -> None:
    """Refuses a plateau that is out of range.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_window(0, 0.01, 100)
    Traceback (most recent call last):
    ...
    ValueError: window is 0; allowed: an integer, 1 to 1073741824
    """
    require_integer("window", window, least=1, most=LATEST)
    require_not_negative("min_improvement", min_improvement)
    require_integer("cooldown", cooldown, least=0, most=LATEST)


def require_value(value: Any) -> None:
    """Refuses an update without the loss.

    Raises:
        ValueError: with what is missing, or not a scalar, and how to give it.

    >>> require_value(jnp.ones(2))
    Traceback (most recent call last):
    ...
    ValueError: value has the shape (2,); allowed: a scalar, the training loss of this step
    """
    what = "the training loss of this step"
    _require_given("value", value, what)
    if isinstance(value, str) or callable(value):
        raise ValueError(f"value is {value!r}; allowed: a scalar, {what}")
    if jnp.shape(value) != ():
        raise ValueError(f"value has the shape {jnp.shape(value)}; allowed: a scalar, {what}")


def require_loss_fn(name: str, given: Any) -> None:
    """Refuses an update without the function that gives the loss.

    Raises:
        ValueError: with what is missing, or not a function, and how to give it.

    >>> require_loss_fn("value_fn", 3)
    Traceback (most recent call last):
    ...
    ValueError: value_fn is 3; allowed: a function of the parameters, the loss on a batch of its own
    """
    what = "a function of the parameters, the loss on a batch of its own"
    _require_given(name, given, what)
    if not callable(given):
        raise ValueError(f"{name} is {given!r}; allowed: {what}")


def require_whole(params: Any) -> None:
    """Refuses parameters of which a wrapper outside has taken a part away: no loss can be computed of the others.

    Raises:
        ValueError: with the place of the first that is missing, and what to do.

    >>> require_whole({"w": optax.MaskedNode()})
    Traceback (most recent call last):
    ...
    ValueError: params['w'] was taken out by optax.masked, partition or selective_transform, which stands around \
escape_saddle; value_fn needs all parameters: put escape_saddle around it, as escape_saddle(optax.masked(...), mask=...)
    """
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    missing = [jax.tree_util.keystr(path) for path, leaf in leaves if isinstance(leaf, optax.MaskedNode)]
    if missing:
        raise ValueError(
            f"params{missing[0]} was taken out by optax.masked, partition or selective_transform, which stands around "
            "escape_saddle; value_fn needs all parameters: put escape_saddle around it, as "
            "escape_saddle(optax.masked(...), mask=...)"
        )


def _require_given(name: str, given: Any, what: str) -> None:
    if given is None:
        raise ValueError(
            f"{name} is missing: call update(gradient, state, params, value=loss, value_fn=loss_of_params); {name} "
            f"is {what}"
        )
