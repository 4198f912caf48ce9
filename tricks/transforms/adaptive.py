"""Learning rates that adapt to each parameter: root mean square, RMSProp, Adam."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.transforms.learning_rate import ScalarOrSchedule, scale_by_learning_rate


class SquaredGradientState(NamedTuple):
    """Updates done so far, and sigma squared."""

    count: jax.Array  # type: ignore[assignment]
    sigma_squared: optax.Updates


class AdamState(NamedTuple):
    """Updates done so far, and the averages of the gradient and of its square."""

    count: jax.Array  # type: ignore[assignment]
    m: optax.Updates
    v: optax.Updates


def scale_by_root_mean_square(eps: float = 1e-8) -> optax.GradientTransformation:
    """Divides by the root mean square of all gradients so far.

    u = g^t / (sigma^t + eps), sigma^t = sqrt((1 / (t + 1)) sum_{i=0..t} (g^i)^2).

    Args:
        eps: keeps the quotient finite where every gradient was zero.

    Returns:
        A transformation with a `SquaredGradientState`.

    >>> tx = scale_by_root_mean_square(eps=0.0)
    >>> _, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> round(tx.update(jnp.array([7.0]), state)[0].item(), 4)
    1.4
    """
    return _divide_by_sigma(lambda mean, square, count: mean + (square - mean) / (count + 1), eps)


def scale_by_rmsprop(decay: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformation:
    """Divides by the root of a decaying mean of squared gradients that starts at the first one.

    u = g^t / (sigma^t + eps), sigma^0 = |g^0|, sigma^t = sqrt(alpha (sigma^{t-1})^2 + (1 - alpha) (g^t)^2).

    Args:
        decay: alpha, 0 < alpha < 1.
        eps: keeps the quotient finite where every gradient was zero.

    Returns:
        A transformation with a `SquaredGradientState`.

    >>> tx = scale_by_rmsprop(decay=0.5, eps=0.0)
    >>> _, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> round(tx.update(jnp.array([7.0]), state)[0].item(), 4)
    1.4
    """

    def average(mean: jax.Array, square: jax.Array, count: jax.Array) -> jax.Array:
        return jnp.where(count == 0, square, decay * mean + (1 - decay) * square)

    return _divide_by_sigma(average, eps)


def _divide_by_sigma(average, eps: float) -> optax.GradientTransformation:  # type: ignore[no-untyped-def]
    def init_fn(params: optax.Params) -> SquaredGradientState:
        return SquaredGradientState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update_fn(
        updates: optax.Updates, state: SquaredGradientState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SquaredGradientState]:
        del params
        sigma_squared = jax.tree.map(
            lambda mean, g: average(mean, g * g, state.count).astype(mean.dtype), state.sigma_squared, updates
        )
        scaled = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, sigma_squared)
        return scaled, SquaredGradientState(optax.safe_increment(state.count), sigma_squared)

    return optax.GradientTransformation(init_fn, update_fn)


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Momentum over root mean square, both corrected for starting at zero.

    m^t = b1 m^{t-1} + (1 - b1) g^t, v^t = b2 v^{t-1} + (1 - b2) (g^t)^2,
    u = (m^t / (1 - b1^t)) / (sqrt(v^t / (1 - b2^t)) + eps), with t = 1 at the first update.

    Args:
        b1: decay of the gradient average.
        b2: decay of the squared-gradient average.
        eps: added to the root.

    Returns:
        A transformation with an `AdamState`.

    >>> tx = scale_by_adam(eps=0.0)
    >>> round(tx.update(jnp.array([-3.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -1.0

    Source: Kingma and Ba, arXiv 1412.6980.
    """

    def init_fn(params: optax.Params) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros([], jnp.int32), zeros, jax.tree.map(jnp.zeros_like, params))

    def update_fn(
        updates: optax.Updates, state: AdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdamState]:
        del params
        count = optax.safe_increment(state.count)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, updates)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * (g * g), state.v, updates)

        def direction(m: jax.Array, v: jax.Array) -> jax.Array:
            m_hat = m / _one_minus_power(b1, count, m.dtype)
            v_hat = v / _one_minus_power(b2, count, v.dtype)
            return m_hat / (jnp.sqrt(v_hat) + eps)

        return jax.tree.map(direction, m, v), AdamState(count, m, v)

    return optax.GradientTransformation(init_fn, update_fn)


def _one_minus_power(decay: float | jax.Array, count: jax.Array, dtype: jnp.dtype) -> jax.Array:
    # 1 - 0.999^1 in float32 keeps five digits; through the logarithm all of them are kept.
    logarithm = math.log(decay) if isinstance(decay, float) and decay > 0 else jnp.log(decay)
    return -jnp.expm1(count.astype(dtype) * logarithm)


def root_mean_square(learning_rate: ScalarOrSchedule, eps: float = 1e-8) -> optax.GradientTransformation:
    """Gradient descent divided by the root mean square of all gradients so far (the rule of Adagrad, with a mean).

    theta <- theta - (eta^t / sigma^t) g^t; see `scale_by_root_mean_square`.

    Args:
        learning_rate: eta, a number or a schedule; with eta / sqrt(t + 1) this is Adagrad.
        eps: keeps the quotient finite where every gradient was zero.

    Returns:
        An optax transformation.

    >>> tx = root_mean_square(0.1)
    >>> round(tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -0.1

    Source: the lectures; Duchi et al. 2011.
    """
    return optax.chain(scale_by_root_mean_square(eps), scale_by_learning_rate(learning_rate))


def rmsprop(learning_rate: ScalarOrSchedule, decay: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformation:
    """RMSProp with sigma^0 = |g^0|, so that the first step is not inflated by a start at zero.

    theta <- theta - (eta^t / sigma^t) g^t; see `scale_by_rmsprop`.

    Args:
        learning_rate: eta, a number or a schedule.
        decay: alpha, 0 < alpha < 1.
        eps: keeps the quotient finite where every gradient was zero.

    Returns:
        An optax transformation.

    >>> tx = rmsprop(0.1)
    >>> round(tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -0.1

    Source: the lectures; Tieleman and Hinton 2012.
    """
    return optax.chain(scale_by_rmsprop(decay, eps), scale_by_learning_rate(learning_rate))


def adam(
    learning_rate: ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """RMSProp with momentum and bias correction.

    theta <- theta - (eta^t / sigma^t) m^t; see `scale_by_adam`.

    Args:
        learning_rate: eta, a number or a schedule.
        b1: decay of the gradient average.
        b2: decay of the squared-gradient average.
        eps: added to the root.

    Returns:
        An optax transformation.

    >>> tx = adam(0.1)
    >>> round(tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -0.1

    Source: the lectures; Kingma and Ba, arXiv 1412.6980.
    """
    return optax.chain(scale_by_adam(b1, b2, eps), scale_by_learning_rate(learning_rate))
