"""Gradient descent divided by the size of past gradients: root mean square and RMSProp."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_boolean, require_decay, require_positive
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


class SquaredGradientState(NamedTuple):
    """Updates done so far, and sigma squared."""

    count: jax.Array  # type: ignore[assignment]
    sigma_squared: optax.Updates


class CenteredState(NamedTuple):
    """Updates done so far, and the averages of the gradient and of its square."""

    count: jax.Array  # type: ignore[assignment]
    mean: optax.Updates
    mean_square: optax.Updates


def scale_by_root_mean_square(eps: float = 1e-8) -> optax.GradientTransformation:
    """Divides by the root mean square of all gradients so far.

    u = g^t / (sigma^t + eps), sigma^t = sqrt((1 / (t + 1)) sum_{i=0..t} (g^i)^2).

    Args:
        eps: above 0; keeps the quotient finite where every gradient was zero.

    Returns:
        A transformation with a `SquaredGradientState`; updates have the structure, shapes and types of its input.

    Raises:
        ValueError: for an eps that is not above 0.

    >>> tx = scale_by_root_mean_square()
    >>> _, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> round(tx.update(jnp.array([7.0]), state)[0].item(), 4)
    1.4

    Source: the lectures; Duchi et al. 2011, whose sigma is a sum and not a mean.
    """
    return _divide_by_sigma(lambda mean, square, count: mean + (square - mean) / (count.astype(mean.dtype) + 1), eps)


def scale_by_rmsprop(decay: float = 0.9, eps: float = 1e-8, *, centered: bool = False) -> optax.GradientTransformation:
    """Divides by the root of a decaying mean of squared gradients that starts at the first one.

    u = g^t / (sigma^t + eps), sigma^t = sqrt(v^t), v^0 = |g^0|^2, v^t = alpha v^{t-1} + (1 - alpha) |g^t|^2;
    with `centered` sigma^t = sqrt(v^t - |m^t|^2), m^t = alpha m^{t-1} + (1 - alpha) g^t from m = 0 on.

    Args:
        decay: alpha, 0 <= alpha < 1.
        eps: above 0; keeps the quotient finite where every gradient was zero, or with `centered` the same.
        centered: divide by the deviation of gradients from their mean. Where they hardly change that is next to
            nothing, and eps, which should then be larger, decides.

    Returns:
        A transformation with a `SquaredGradientState`, or with `centered` a `CenteredState`; updates have the
        structure, shapes and types of its input.

    Raises:
        ValueError: for a decay outside [0, 1), an eps that is not above 0, or a centered that is neither True nor
            False.

    >>> tx = scale_by_rmsprop(decay=0.5)
    >>> _, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
    >>> round(tx.update(jnp.array([7.0]), state)[0].item(), 4)
    1.4

    Source: the lectures; Tieleman and Hinton 2012, whose sigma starts at 0; centered: Graves, arXiv 1308.0850.
    """
    require_decay("decay", decay)
    require_boolean("centered", centered)
    if centered:
        return _divide_by_deviation(decay, eps)

    def average(mean: jax.Array, square: jax.Array, count: jax.Array) -> jax.Array:
        return jnp.where(count == 0, square, times(decay, mean) + times(1 - decay, square))

    return _divide_by_sigma(average, eps)


def _divide_by_sigma(
    average: Callable[[jax.Array, jax.Array, jax.Array], jax.Array], eps: float
) -> optax.GradientTransformation:
    require_positive("eps", eps)

    def init_fn(params: optax.Params) -> SquaredGradientState:
        return SquaredGradientState(jnp.zeros([], jnp.int32), zeros_of_squares(params))

    def update_fn(
        updates: optax.Updates, state: SquaredGradientState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SquaredGradientState]:
        del params
        sigma_squared = map_state(
            lambda g, mean: rounded(average(widened(mean), squared(widened(g)), state.count), mean),
            updates,
            state.sigma_squared,
        )

        def scale(g: jax.Array, s: jax.Array) -> jax.Array:
            sigma = jnp.sqrt(widened(s))
            return rounded(widened(g) / (sigma + jnp.asarray(eps, sigma.dtype)), g)

        scaled = map_updates(scale, updates, sigma_squared)
        return scaled, SquaredGradientState(optax.safe_increment(state.count), sigma_squared)

    return optax.GradientTransformation(init_fn, update_fn)


def _divide_by_deviation(decay: float, eps: float) -> optax.GradientTransformation:
    require_positive("eps", eps)

    def init_fn(params: optax.Params) -> CenteredState:
        return CenteredState(jnp.zeros([], jnp.int32), zeros(params), zeros_of_squares(params))

    def update_fn(
        updates: optax.Updates, state: CenteredState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, CenteredState]:
        del params

        def first(g: jax.Array, m: jax.Array) -> jax.Array:
            return rounded(times(decay, widened(m)) + times(1 - decay, widened(g)), m)

        def second(g: jax.Array, v: jax.Array) -> jax.Array:
            square = squared(widened(g))
            average = times(decay, widened(v)) + times(1 - decay, square)
            return rounded(jnp.where(state.count == 0, square, average), v)

        def scale(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            # No weight of the mean exceeds that of the mean square, so below zero is rounding alone.
            sigma = jnp.sqrt(jnp.maximum(widened(v) - squared(widened(m)), 0))
            return rounded(widened(g) / (sigma + jnp.asarray(eps, sigma.dtype)), g)

        mean, mean_square = map_state(first, updates, state.mean), map_state(second, updates, state.mean_square)
        scaled = map_updates(scale, updates, mean, mean_square)
        return scaled, CenteredState(optax.safe_increment(state.count), mean, mean_square)

    return optax.GradientTransformation(init_fn, update_fn)


def root_mean_square(learning_rate: ScalarOrSchedule, eps: float = 1e-8) -> optax.GradientTransformation:
    """Gradient descent divided by the root mean square of all gradients so far (the rule of Adagrad, with a mean).

    theta <- theta - (eta^t / (sigma^t + eps)) g^t; see `scale_by_root_mean_square`.

    Args:
        learning_rate: eta, a number or a schedule; with eta / sqrt(t + 1) this is Adagrad.
        eps: above 0; keeps the quotient finite where every gradient was zero.

    Returns:
        An optax transformation; updates have the structure, shapes and types of the gradients.

    Raises:
        ValueError: for a negative rate, or an eps that is not above 0.

    >>> tx = root_mean_square(0.1)
    >>> round(tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -0.1

    Source: the lectures; Duchi et al. 2011.
    """
    return optax.chain(scale_by_root_mean_square(eps), scale_by_learning_rate(learning_rate))


def rmsprop(
    learning_rate: ScalarOrSchedule, decay: float = 0.9, eps: float = 1e-8, *, centered: bool = False
) -> optax.GradientTransformation:
    """RMSProp with sigma^0 = |g^0|, so that the first step is not inflated by a start at zero.

    theta <- theta - (eta^t / (sigma^t + eps)) g^t; see `scale_by_rmsprop`.

    Args:
        learning_rate: eta, a number or a schedule.
        decay: alpha, 0 <= alpha < 1.
        eps: above 0; keeps the quotient finite where every gradient was zero, or with `centered` the same.
        centered: divide by the deviation of gradients from their mean.

    Returns:
        An optax transformation; updates have the structure, shapes and types of the gradients.

    Raises:
        ValueError: for a negative rate, a decay outside [0, 1), or an eps that is not above 0.

    >>> tx = rmsprop(0.1)
    >>> round(tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))[0].item(), 4)
    -0.1

    Source: the lectures; Tieleman and Hinton 2012.
    """
    return optax.chain(scale_by_rmsprop(decay, eps, centered=centered), scale_by_learning_rate(learning_rate))
