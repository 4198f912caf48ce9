"""The learning rate as a transform whose current value can be read back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_rate
from tricks.transforms.leaves import map_updates, rounded, times, widened

ScalarOrSchedule = float | jax.Array | Callable[[Any], Any]


class LearningRateState(NamedTuple):
    """Updates done so far, and the rate that the last of them used."""

    count: jax.Array  # type: ignore[assignment]
    last_rate: jax.Array
    """Not called learning_rate: what `optax.tree.set(state, learning_rate=...)` finds must be what counts."""


def value_at(value: ScalarOrSchedule, count: jax.Array) -> jax.Array:
    """A number, or a schedule's value at `count`.

    Args:
        value: a number (traced or not) or a function of the step.
        count: the step.

    Returns:
        A scalar array.

    Raises:
        ValueError: for a value that is no number, or not a scalar.

    >>> float(value_at(lambda step: step / 2, jnp.int32(3)))
    1.5
    """
    given = value(count) if callable(value) else value
    if given is None or isinstance(given, str):
        raise ValueError(f"a schedule returns {given!r}; allowed: a number or a scalar array")
    value = jnp.asarray(given)
    if value.shape != ():
        raise ValueError(f"a schedule or rate has the shape {value.shape}; allowed: a scalar (vmap over many rates)")
    # A weakly typed state would come back from the first jitted update strongly typed, and be compiled for again.
    return jax.lax.convert_element_type(value, value.dtype)


def scale_by_learning_rate(learning_rate: ScalarOrSchedule) -> optax.GradientTransformation:
    """Multiplies by minus the learning rate, and remembers it.

    update = -eta^t u; step 0 is the first update.

    Args:
        learning_rate: eta, a number (traced or not) or a schedule from the step to a number.

    Returns:
        A transformation with a `LearningRateState`, which `current_learning_rate` reads.

    Raises:
        ValueError: for a rate that is negative or not finite.

    >>> tx = scale_by_learning_rate(lambda step: 0.1 / (step + 1))
    >>> state = tx.init(None)
    >>> _, state = tx.update(jnp.ones(2), state)
    >>> updates, state = tx.update(jnp.ones(2), state)
    >>> updates.tolist()
    [-0.05000000074505806, -0.05000000074505806]

    Source: the lectures on gradient descent.
    """

    require_rate("learning_rate", learning_rate)

    def init_fn(params: optax.Params) -> LearningRateState:
        del params
        count = jnp.zeros([], jnp.int32)
        return LearningRateState(count, value_at(learning_rate, count))

    def update_fn(
        updates: optax.Updates, state: LearningRateState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LearningRateState]:
        del params
        rate = value_at(learning_rate, state.count)
        updates = map_updates(lambda u: rounded(times(-rate, widened(u)), u), updates)
        return updates, LearningRateState(optax.safe_increment(state.count), rate.astype(state.last_rate.dtype))

    return optax.GradientTransformation(init_fn, update_fn)


def current_learning_rate(opt_state: Any) -> jax.Array:
    """The rate that the last update used (before the first: the rate that it will use).

    Args:
        opt_state: a state with one learning rate in it: of any chain with one `scale_by_learning_rate`, as all
            optimizers of this package have, or of any optax optimizer under `optax.inject_hyperparams`. Of several
            groups of parameters give the part of one.

    Returns:
        A scalar array; under `vmap` over rates one of each.

    Raises:
        ValueError: when there is no learning rate in the state, or more than one.

    >>> import optax
    >>> tx = optax.chain(optax.clip(1.0), scale_by_learning_rate(0.1))
    >>> round(float(current_learning_rate(tx.init({"w": jnp.ones(3)}))), 3)
    0.1

    Source: asked for in optax issue 206.
    """
    used = [
        (path, rate)
        for path, rate in optax.tree.get_all_with_path(opt_state, "last_rate")
        if path[-1] == optax.tree_utils.NamedTupleKey(LearningRateState.__name__, "last_rate")
    ]
    injected = [
        (path, rate)
        for path, rate in optax.tree.get_all_with_path(opt_state, "learning_rate")
        # The state of an injected schedule is its count.
        if "hyperparams_states" not in jax.tree_util.keystr(path)
    ]
    # What inject_hyperparams holds beside a rate that was used is the same rate, or the next one.
    found = used or injected
    if len(found) != 1:
        places = "".join(f", at {jax.tree_util.keystr(path)}" for path, _ in found)
        raise ValueError(
            f"opt_state holds {len(found)} learning rates{places}; it must hold one: chain one scale_by_learning_rate, "
            "or an optimizer of tricks.transforms, and give the part of the state that is meant"
        )
    return found[0][1]
