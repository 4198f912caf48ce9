"""Adam and AdamW: momentum over root mean square, both corrected for their start at zero."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_boolean, require_decay, require_not_negative, require_positive, require_rate
from tricks.masks import WEIGHTS_ONLY, Mask
from tricks.transforms.decay import add_l2_decay
from tricks.transforms.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from tricks.transforms.leaves import (
    map_state,
    map_updates,
    rounded,
    squared,
    times,
    widened,
    zeros,
    zeros_of_squares,
)


class AdamState(NamedTuple):
    """Updates done so far, and the averages of the gradient and of its square."""

    count: jax.Array  # type: ignore[assignment]
    m: optax.Updates
    v: optax.Updates


def scale_by_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, *, eps_root: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """Momentum over root mean square, both corrected for starting at zero.

    m^t = b1 m^{t-1} + (1 - b1) g^t, v^t = b2 v^{t-1} + (1 - b2) |g^t|^2,
    u = (m^t / (1 - b1^t)) / (sqrt(v^t / (1 - b2^t) + eps_root) + eps), with t = 1 at the first update;
    with `nesterov` the numerator is b1 m^t / (1 - b1^{t+1}) + (1 - b1) g^t / (1 - b1^t).

    Args:
        b1: decay of the gradient average, 0 <= b1 < 1.
        b2: decay of the squared-gradient average, 0 <= b2 < 1.
        eps: above 0; added to the root.
        eps_root: 0 or more; added under the root, which then has a derivative where all gradients were zero.
        nesterov: look one step ahead along m.

    Returns:
        A transformation with an `AdamState`; updates have the structure, shapes and types of its input.

    Raises:
        ValueError: for a decay outside [0, 1), an eps that is not above 0, a negative eps_root, or a nesterov that is
            neither True nor False.

    >>> tx = scale_by_adam()
    >>> round(tx.update(jnp.array([-3.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -1.0

    Source: Kingma and Ba, arXiv 1412.6980; Nesterov form: Dozat 2016.
    """
    require_decay("b1", b1)
    require_decay("b2", b2)
    require_positive("eps", eps)
    require_not_negative("eps_root", eps_root)
    require_boolean("nesterov", nesterov)

    def init_fn(params: optax.Params) -> AdamState:
        return AdamState(jnp.zeros([], jnp.int32), zeros(params), zeros_of_squares(params))

    def update_fn(
        updates: optax.Updates, state: AdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdamState]:
        del params
        state = next_averages(updates, state, b1, b2)
        m_correction, v_correction = one_minus_power(b1, state.count), one_minus_power(b2, state.count)
        ahead = b1 * m_correction / one_minus_power(b1, optax.safe_increment(state.count)) if nesterov else 1.0

        def scale(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            if nesterov:
                m = times(ahead, widened(m)) + times(1 - b1, widened(g))
            return rounded(direction(m, v, m_correction, v_correction, eps, eps_root), g)

        return map_updates(scale, updates, state.m, state.v), state

    return optax.GradientTransformation(init_fn, update_fn)


def next_averages(
    gradients: optax.Updates, state: AdamState, b1: float | jax.Array, b2: float | jax.Array
) -> AdamState:
    """m^t = b1 m^{t-1} + (1 - b1) g^t, v^t = b2 v^{t-1} + (1 - b2) |g^t|^2, and the count.

    Args:
        gradients: g^t, a pytree.
        state: of t - 1.
        b1: decay of the gradient average.
        b2: decay of the squared-gradient average.

    Returns:
        The state of t.

    >>> next_averages(jnp.ones(1), AdamState(jnp.int32(0), jnp.zeros(1), jnp.zeros(1)), 0.5, 0.75).v.tolist()
    [0.25]
    """

    def first(g: jax.Array, m: jax.Array) -> jax.Array:
        return rounded(times(b1, widened(m)) + times(1 - b1, widened(g)), m)

    def second(g: jax.Array, v: jax.Array) -> jax.Array:
        return rounded(times(b2, widened(v)) + times(1 - b2, squared(widened(g))), v)

    m, v = map_state(first, gradients, state.m), map_state(second, gradients, state.v)
    return AdamState(optax.safe_increment(state.count), m, v)


def one_minus_power(decay: float | jax.Array, count: jax.Array) -> jax.Array:
    """1 - decay^count, what an average that starts at zero has seen of its input after so many steps.

    Args:
        decay: of the average.
        count: steps done, 1 or more.

    Returns:
        A scalar array.

    >>> round(float(one_minus_power(0.5, jnp.int32(2))), 4)
    0.75
    """
    # 1 - 0.999^1 in float32 keeps five digits; through the logarithm all of them are kept. A small decay needs no such
    # care, and the logarithm of 0 none of its own.
    steps = count.astype(jnp.result_type(float))
    if isinstance(decay, float | int):
        return -jnp.expm1(steps * math.log(decay)) if decay > 0 else jnp.ones_like(steps)
    return jnp.where(decay < 0.5, 1 - decay**steps, -jnp.expm1(steps * jnp.log(jnp.maximum(decay, 0.5))))


def direction(
    m: jax.Array,
    v: jax.Array,
    m_correction: jax.Array,
    v_correction: jax.Array,
    eps: float | jax.Array,
    eps_root: float | jax.Array = 0.0,
) -> jax.Array:
    """(m / m_correction) / (sqrt(v / v_correction + eps_root) + eps), in float32 at least.

    Args:
        m: the gradient average.
        v: the squared-gradient average.
        m_correction: what m has seen of its input.
        v_correction: what v has seen of its input.
        eps: added to the root.
        eps_root: added under it.

    Returns:
        An array of the shape of m.

    >>> direction(jnp.ones(1), jnp.ones(1), jnp.float32(0.5), jnp.float32(0.25), 0.0).tolist()
    [1.0]
    """
    m, v = widened(m), widened(v)
    # Where m is complex its corrections are as real as those of v.
    m_hat, v_hat = m / m_correction.astype(v.dtype), v / v_correction.astype(v.dtype)
    if not (isinstance(eps_root, float | int) and eps_root == 0):
        v_hat = v_hat + jnp.asarray(eps_root, v.dtype)
    return m_hat / (jnp.sqrt(v_hat) + jnp.asarray(eps, v.dtype))


def adam(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    eps_root: float = 0.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """RMSProp with momentum and bias correction.

    theta <- theta - (eta^t / sigma^t) m^t; see `scale_by_adam`.

    Args:
        learning_rate: eta, a number or a schedule.
        b1: decay of the gradient average, 0 <= b1 < 1.
        b2: decay of the squared-gradient average, 0 <= b2 < 1.
        eps: above 0; added to the root.
        eps_root: 0 or more; added under the root.
        nesterov: look one step ahead along m.

    Returns:
        An optax transformation; updates have the structure, shapes and types of the gradients.

    Raises:
        ValueError: for a negative rate or eps_root, a decay outside [0, 1), or an eps that is not above 0.

    >>> tx = adam(0.1)
    >>> round(tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -0.1

    Source: the lectures; Kingma and Ba, arXiv 1412.6980.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root=eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask = WEIGHTS_ONLY,
    *,
    eps_root: float = 0.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Adam with decay that does not pass through its averages.

    theta <- theta - eta^t ((m^t / sigma^t) + lambda^t theta); see `scale_by_adam`.

    Args:
        learning_rate: eta, a number or a schedule.
        b1: decay of the gradient average, 0 <= b1 < 1.
        b2: decay of the squared-gradient average, 0 <= b2 < 1.
        eps: above 0; added to the root.
        weight_decay: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans (or a prefix of one), a function from the parameters to one, or
            None for all.
        eps_root: 0 or more; added under the root.
        nesterov: look one step ahead along m.

    Returns:
        An optax transformation whose `update` needs `params`; updates have the structure, shapes and types of the
        gradients.

    Raises:
        ValueError: for a negative rate, strength or eps_root, a decay outside [0, 1), or an eps that is not above 0;
            from `init` and `update` for a mask that does not match the parameters; from `update` when `params` is
            None.

    >>> tx = adamw(0.1, weight_decay=0.5)
    >>> params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 2.0)}
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> round(updates["kernel"].item(), 4), round(updates["bias"].item(), 4)
    (-0.2, -0.1)

    Source: Loshchilov and Hutter, arXiv 1711.05101.
    """
    require_rate("weight_decay", weight_decay)
    core = scale_by_adam(b1, b2, eps, eps_root=eps_root, nesterov=nesterov)
    return optax.chain(core, add_l2_decay(weight_decay, mask), scale_by_learning_rate(learning_rate))
