"""L1 and L2 decay that leave biases and normalization parameters alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_params, require_rate
from tricks.masks import WEIGHTS_ONLY, Mask, marked, require_mask, warn_of_idle
from tricks.transforms.learning_rate import ScalarOrSchedule, value_at
from tricks.transforms.leaves import map_updates, rounded, times, widened


class DecayState(NamedTuple):
    """Updates done so far, for strengths and rates that follow a schedule."""

    count: jax.Array  # type: ignore[assignment]


def add_l2_decay(strength: ScalarOrSchedule, mask: Mask = WEIGHTS_ONLY) -> optax.GradientTransformation:
    """Adds the gradient of half the squared weights: u + lambda^t w.

    Before an optimizer the decay is coupled: a part of the gradient, as in the lectures. With plain gradient descent
    it gives w <- (1 - eta lambda) w - eta dL/dw. An adaptive optimizer divides it by sigma with all the rest; see
    `add_decoupled_decay` for one that it does not.

    Args:
        strength: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans (or a prefix of one), a function from the parameters to one, or
            None for all.

    Returns:
        A transformation with a `DecayState` whose `update` needs `params`; updates have the structure, shapes and types
        of its input.

    Raises:
        ValueError: for a negative strength; from `init` and `update` for a mask that does not match the parameters;
            from `update` when `params` is None.

    >>> tx = add_l2_decay(0.1)
    >>> params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 2.0)}
    >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    >>> round(updates["kernel"].item(), 3), updates["bias"].item()
    (0.2, 0.0)

    Source: the lectures on regularization.
    """
    return _decay(strength, 1.0, mask, lambda u, w, strength, _: u + times(strength, w))


def add_l1_decay(strength: ScalarOrSchedule, mask: Mask = WEIGHTS_ONLY) -> optax.GradientTransformation:
    """Adds the gradient of the absolute weights: u + lambda^t sgn(w).

    Before plain gradient descent it gives w <- w - eta dL/dw - eta lambda sgn(w). It moves weights to within about
    eta lambda of zero and lets them chatter there; it makes no exact zeros. See `soft_threshold` for those.

    Args:
        strength: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans (or a prefix of one), a function from the parameters to one, or
            None for all.

    Returns:
        A transformation with a `DecayState` whose `update` needs `params`; updates have the structure, shapes and types
        of its input.

    Raises:
        ValueError: for a negative strength; from `init` and `update` for a mask that does not match the parameters;
            from `update` when `params` is None.

    >>> tx = add_l1_decay(0.1, mask=None)
    >>> params = jnp.array([-2.0, 0.0, 5.0])
    >>> updates, _ = tx.update(jnp.zeros(3), tx.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.0, 0.1]

    Source: the lectures on regularization.
    """
    return _decay(strength, 1.0, mask, lambda u, w, strength, _: u + times(strength, jnp.sign(w)))


def add_decoupled_decay(
    strength: ScalarOrSchedule, learning_rate: ScalarOrSchedule, mask: Mask = WEIGHTS_ONLY
) -> optax.GradientTransformation:
    """Shrinks the weights beside the step of any optimizer: u - eta^t lambda^t w. Last in a chain.

    w <- (1 - eta^t lambda^t) w + u, with the u of the chain before, whatever that is: no average and no sigma touches
    the decay.

    Args:
        strength: lambda, a number or a schedule.
        learning_rate: eta, that of the optimizer before; a number or a schedule.
        mask: which leaves decay: a pytree of booleans (or a prefix of one), a function from the parameters to one, or
            None for all.

    Returns:
        A transformation with a `DecayState` whose `update` needs `params`; updates have the structure, shapes and types
        of its input.

    Raises:
        ValueError: for a negative strength or rate; from `init` and `update` for a mask that does not match the
            parameters; from `update` when `params` is None.

    >>> tx = optax.chain(optax.sgd(0.1, momentum=0.9), add_decoupled_decay(0.5, 0.1, mask=None))
    >>> params = jnp.array([2.0])
    >>> updates, _ = tx.update(jnp.array([0.0]), tx.init(params), params)
    >>> round(updates.item(), 4)
    -0.1

    Source: Loshchilov and Hutter, arXiv 1711.05101.
    """
    return _decay(strength, learning_rate, mask, lambda u, w, strength, rate: u - times(rate * strength, w))


def soft_threshold(
    strength: ScalarOrSchedule, learning_rate: ScalarOrSchedule, mask: Mask = WEIGHTS_ONLY
) -> optax.GradientTransformation:
    """L1 decay that makes exact zeros: the proximal step of lambda |w|. Last in a chain.

    w <- sgn(w + u) max(|w + u| - eta^t lambda^t, 0), with the u of the chain before.

    Args:
        strength: lambda, a number or a schedule.
        learning_rate: eta, that of the optimizer before; a number or a schedule.
        mask: which leaves are thresholded: a pytree of booleans (or a prefix of one), a function from the parameters
            to one, or None for all.

    Returns:
        A transformation with a `DecayState` whose `update` needs `params`; updates have the structure, shapes and types
        of its input.

    Raises:
        ValueError: for a negative strength or rate; from `init` and `update` for a mask that does not match the
            parameters; from `update` when `params` is None.

    >>> tx = optax.chain(optax.sgd(0.1), soft_threshold(1.0, 0.1, mask=None))
    >>> params = jnp.array([0.05, -0.5])
    >>> updates, _ = tx.update(jnp.zeros(2), tx.init(params), params)
    >>> [round(w, 3) for w in optax.apply_updates(params, updates).tolist()]
    [0.0, -0.4]

    Source: the lectures on L1; Daubechies et al. 2004; Beck and Teboulle 2009.
    """

    def shrink(u: jax.Array, w: jax.Array, strength: jax.Array, rate: jax.Array) -> jax.Array:
        moved = w + u
        size = jnp.abs(moved)
        return jnp.sign(moved) * jnp.maximum(size - (rate * strength).astype(size.dtype), 0) - w

    return _decay(strength, learning_rate, mask, shrink)


def _decay(
    strength: ScalarOrSchedule,
    learning_rate: ScalarOrSchedule,
    mask: Mask,
    rule: Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array],
) -> optax.GradientTransformation:
    require_rate("strength", strength)
    require_rate("learning_rate", learning_rate)
    require_mask(mask)

    def init_fn(params: optax.Params) -> DecayState:
        warn_of_idle_decay(strength, mask, params)
        return DecayState(jnp.zeros([], jnp.int32))

    def update_fn(
        updates: optax.Updates, state: DecayState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, DecayState]:
        require_params(params, updates)
        now, rate = value_at(strength, state.count), value_at(learning_rate, state.count)

        def decay(u: jax.Array, w: jax.Array, chosen: bool) -> jax.Array:
            return rounded(rule(widened(u), widened(w), now, rate), u) if chosen else u

        updates = map_updates(decay, updates, params, marked(mask, params))
        return updates, DecayState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init_fn, update_fn)


def warn_of_idle_decay(strength: ScalarOrSchedule, mask: Mask, params: optax.Params) -> None:
    """Warns where a mask marks no leaf, so that a decay is lost; one of strength 0 is not missed.

    Args:
        strength: a number, a traced number, or a schedule.
        mask: which leaves decay.
        params: a pytree of arrays.

    Raises:
        ValueError: for a mask that does not match the parameters.

    >>> warn_of_idle_decay(0.0, WEIGHTS_ONLY, jnp.ones(6))
    """
    is_known = not callable(strength) and not isinstance(strength, jax.core.Tracer)
    if is_known and strength == 0:
        marked(mask, params)
    else:
        warn_of_idle("mask", mask, params, "decays")
