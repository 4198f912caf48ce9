"""Losses of the corpus: those that a person writes in a hurry, and one of the lectures'."""

import jax
import jax.numpy as jnp

Measures = dict[str, jax.Array]


def cross_entropy_by_hand(outputs: jax.Array, targets: jax.Array) -> Measures:
    """-ln p, infinite once a probability is 0 in float32."""
    return _of_probabilities(jax.nn.softmax(outputs), targets)


def softmax_by_hand(outputs: jax.Array, targets: jax.Array) -> Measures:
    """-ln of exp / sum of exp, which has no number for outputs above 88."""
    powers = jnp.exp(outputs)
    return _of_probabilities(powers / powers.sum(axis=-1, keepdims=True), targets)


def exponential(outputs: jax.Array, targets: jax.Array) -> Measures:
    """exp(-y f) of boosting, y = -1 or 1."""
    margins = (2 * targets - 1) * outputs[:, 0]
    return {"loss": jnp.exp(-margins), "accuracy": _float(margins > 0)}


def sigmoid_squared_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """(sigma(f) - t)^2 of two classes, flat where sigma is."""
    errors = jax.nn.sigmoid(outputs[:, 0]) - targets
    return {"loss": errors**2, "accuracy": _float(jnp.abs(errors) < 0.5)}


def absolute_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """|f - t|, whose gradient is as long near the target as far from it."""
    return {"loss": jnp.abs(outputs.reshape(targets.shape) - targets)}


def log_squared_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """(ln f - t)^2, without a number for outputs below 0."""
    return {"loss": (jnp.log(outputs.reshape(targets.shape)) - targets) ** 2}


def _of_probabilities(probabilities: jax.Array, targets: jax.Array) -> Measures:
    right = jnp.take_along_axis(probabilities, targets[:, None], axis=1)[:, 0]
    return {"loss": -jnp.log(right), "accuracy": _float(probabilities.argmax(axis=-1) == targets)}


def _float(values: jax.Array) -> jax.Array:
    return values.astype(jnp.float32)
