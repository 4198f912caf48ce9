"""An optimizer that starts anew in another place, with its schedules where they were."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tricks.transforms.decay import DecayState
from tricks.transforms.learning_rate import LearningRateState

_SCHEDULES = (LearningRateState, DecayState, optax.transforms.AddNoiseState, optax.contrib.ReduceLROnPlateauState)
# Those that hold the state of another optimizer; their own counts go on.
_AROUND = (
    optax.InjectHyperparamsState,
    optax.InjectStatefulHyperparamsState,
    optax.ConditionallyTransformState,
    optax.ConditionallyMaskState,
)


def restarted(fresh: Any, old: Any) -> Any:
    """The state of an optimizer before its first update, but with its schedules where they were.

    Args:
        fresh: as `init` makes it.
        old: after some updates.

    Returns:
        A state with the types of `old`.

    >>> tx = optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda step: -0.1))
    >>> fresh = tx.init(jnp.zeros(1))
    >>> _, old = tx.update(jnp.ones(1), fresh)
    >>> trace, schedule = restarted(fresh, old)
    >>> trace.trace.tolist(), int(schedule.count)
    ([0.0], 1)
    """

    def one(new: Any, old: Any) -> Any:
        if _is_schedule(old):
            return old
        if isinstance(old, optax.MultiStepsState):
            # Gradients that were gathered belong to the old place.
            inner = restarted(new.inner_opt_state, old.inner_opt_state)
            return new._replace(inner_opt_state=inner, gradient_step=old.gradient_step)
        if isinstance(old, _AROUND):
            return old._replace(inner_state=restarted(new.inner_state, old.inner_state))
        return jnp.asarray(new, jnp.result_type(old))

    kept = (*_AROUND, optax.MultiStepsState)
    return jax.tree.map(one, fresh, old, is_leaf=lambda x: _is_schedule(x) or isinstance(x, kept))


def _is_schedule(state: Any) -> bool:
    # What counts updates and keeps nothing else follows a schedule.
    return isinstance(state, _SCHEDULES) or getattr(state, "_fields", None) == ("count",)


def restarted_after(inner: optax.GradientTransformation, params: Any, state: Any, moved: Any) -> Any:
    """The state of an optimizer after a step that is not its own: its averages belong to the place that was left.

    Args:
        inner: the optimizer.
        params: in the new place.
        state: of the optimizer, from the old place.
        moved: whether there was such a step; a boolean scalar.

    Returns:
        `restarted` where there was, and `state` elsewhere.

    >>> tx = optax.trace(0.9)
    >>> _, old = tx.update(jnp.ones(1), tx.init(jnp.zeros(1)))
    >>> [restarted_after(tx, jnp.ones(1), old, moved).trace.tolist() for moved in (False, True)]
    [[1.0], [0.0]]
    """
    fresh = restarted(inner.init(params), state)
    return jax.tree.map(lambda new, old: jnp.where(moved, new, old), fresh, state)
