"""L1 and L2 decay that leave biases and normalization parameters alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.transforms.learning_rate import ScalarOrSchedule, value_at

Mask = Any | Callable[[optax.Params], Any] | None
_NOT_WEIGHTS = frozenset({"bias", "scale", "b", "offset", "beta", "gamma", "mean", "var"})


class DecayState(NamedTuple):
    """Updates done so far, for strengths that follow a schedule."""

    count: jax.Array  # type: ignore[assignment]


def weights_only(params: optax.Params) -> Any:
    """Marks the weights: arrays of two or more dimensions that are not named like a bias or a normalization.

    Args:
        params: any pytree of arrays.

    Returns:
        A pytree of the same structure with True at the weights and False elsewhere.

    >>> weights_only({"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}})
    {'dense': {'bias': False, 'kernel': True}, 'norm': {'scale': False}}
    """

    def is_weight(path: Any, leaf: Any) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True) if path else ""
        return jnp.ndim(leaf) >= 2 and name not in _NOT_WEIGHTS

    return jax.tree_util.tree_map_with_path(is_weight, params)


def add_l2_decay(strength: ScalarOrSchedule, mask: Mask = weights_only) -> optax.GradientTransformation:
    """Adds the gradient of half the squared weights: u + lambda w.

    Chained before plain gradient descent it gives w <- (1 - eta lambda) w - eta dL/dw.

    Args:
        strength: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans, a function from the parameters to one, or None for all.

    Returns:
        A transformation whose `update` needs `params`.

    Raises:
        ValueError: from `update` when `params` is None.

    >>> tx = add_l2_decay(0.1)
    >>> params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 2.0)}
    >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    >>> round(updates["kernel"].item(), 3), updates["bias"].item()
    (0.2, 0.0)
    """
    return _add_decay(strength, lambda w: w, mask)


def add_l1_decay(strength: ScalarOrSchedule, mask: Mask = weights_only) -> optax.GradientTransformation:
    """Adds the gradient of the absolute weights: u + lambda sgn(w).

    Chained before plain gradient descent it gives w <- w - eta dL/dw - eta lambda sgn(w). It moves weights to within
    about eta lambda of zero and lets them chatter there; it makes no exact zeros.

    Args:
        strength: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans, a function from the parameters to one, or None for all.

    Returns:
        A transformation whose `update` needs `params`.

    Raises:
        ValueError: from `update` when `params` is None.

    >>> tx = add_l1_decay(0.1, mask=None)
    >>> params = jnp.array([-2.0, 0.0, 5.0])
    >>> updates, _ = tx.update(jnp.zeros(3), tx.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.0, 0.1]
    """
    return _add_decay(strength, jnp.sign, mask)


def _add_decay(
    strength: ScalarOrSchedule, penalty_gradient: Callable[[jax.Array], jax.Array], mask: Mask
) -> optax.GradientTransformation:
    def init_fn(params: optax.Params) -> DecayState:
        del params
        return DecayState(jnp.zeros([], jnp.int32))

    def update_fn(
        updates: optax.Updates, state: DecayState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, DecayState]:
        if params is None:
            raise ValueError("params is None; decay needs them: call update(updates, state, params)")
        value = value_at(strength, state.count)
        updates = jax.tree.map(lambda u, w: u + value.astype(u.dtype) * penalty_gradient(w), updates, params)
        return updates, DecayState(optax.safe_increment(state.count))

    transform = optax.GradientTransformation(init_fn, update_fn)
    return transform if mask is None else optax.masked(transform, mask)
