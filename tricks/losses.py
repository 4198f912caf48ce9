"""Losses and accuracies of single examples, and the mean loss that training differentiates."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Measure = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class Batch(NamedTuple):
    """Examples: features (batch, features), targets (batch,): class indices, or numbers for a regression."""

    features: Any
    targets: Any


def cross_entropy(outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-ln softmax(outputs)[target], and whether the largest output is the target's.

    Args:
        outputs: (batch, classes).
        targets: (batch,) class indices.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> [round(float(v[0]), 4) for v in cross_entropy(jnp.zeros((1, 4)), jnp.array([0]))]
    [1.3863, 1.0]
    """
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets), _is_largest(outputs, targets)


def softmax_squared_error(outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """sum_k (onehot_k - softmax(outputs)_k)^2, the lectures' other loss for classification.

    Args:
        outputs: (batch, classes).
        targets: (batch,) class indices.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> [round(float(v[0]), 4) for v in softmax_squared_error(jnp.zeros((1, 4)), jnp.array([0]))]
    [0.75, 1.0]
    """
    probabilities = jax.nn.softmax(outputs)
    errors = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype) - probabilities
    return jnp.sum(errors * errors, axis=-1), _is_largest(outputs, targets)


def sigmoid(outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-ln of the probability of the right one of two classes, sigma(output) being that of class 1.

    Args:
        outputs: (batch, 1).
        targets: (batch,) of 0 and 1.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> [round(float(v[0]), 4) for v in sigmoid(jnp.array([[2.0]]), jnp.array([1]))]
    [0.1269, 1.0]
    """
    logits = outputs[:, 0]
    loss = optax.sigmoid_binary_cross_entropy(logits, targets.astype(outputs.dtype))
    return loss, ((logits > 0) == (targets > 0)).astype(outputs.dtype)


def squared_error(outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(output - target)^2, for a regression. There is no accuracy: it is NaN.

    Args:
        outputs: (batch, 1).
        targets: (batch,) numbers.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> float(squared_error(jnp.array([[3.0]]), jnp.array([1.0]))[0][0])
    4.0
    """
    error = outputs[:, 0] - targets
    return error * error, jnp.full_like(error, jnp.nan)


MEASURES: dict[str, Measure] = {
    "cross_entropy": cross_entropy,
    "softmax_squared_error": softmax_squared_error,
    "sigmoid": sigmoid,
    "squared_error": squared_error,
}


def mean_loss(apply: Callable[..., Any], measure: Measure) -> Callable[..., Any]:
    """Turns a model and a loss of single examples into the function that training differentiates.

    Args:
        apply: a model as `tricks.models.build` returns it.
        measure: one of `MEASURES`, or your own of that form.

    Returns:
        `loss_fn(params, model_state, batch, rng) -> (loss, (new_model_state, accuracy))`, means over the batch;
        `rng=None` means evaluation mode.

    >>> loss_fn = mean_loss(lambda params, state, x, rng: (x @ params, state), squared_error)
    >>> loss, _ = loss_fn(jnp.ones((2, 1)), {}, Batch(jnp.ones((3, 2)), jnp.zeros(3)), None)
    >>> float(loss)
    4.0
    """

    def loss_fn(params: Any, model_state: Any, batch: Batch, rng: jax.Array | None) -> Any:
        outputs, new_model_state = apply(params, model_state, batch.features, rng=rng)
        loss, accuracy = measure(outputs, batch.targets)
        return jnp.mean(loss), (new_model_state, jnp.mean(accuracy))

    return loss_fn


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """`loss_fn(params, batch) -> loss` of a network at rest: what curvature is measured of. Made by `objective`."""

    apply: Callable[..., Any]
    measure: Measure
    model_state: Any
    batch_statistics: bool
    dropout_key: jax.Array | None

    def __call__(self, params: Any, batch: Batch) -> jax.Array:
        """The mean loss over the batch."""
        outputs, _ = self.apply(
            params, self.model_state, batch.features, rng=self.dropout_key, batch_statistics=self.batch_statistics
        )
        return jnp.mean(self.measure(outputs, batch.targets)[0])

    @property
    def mode(self) -> str:
        """What batch normalization and dropout do, in words."""
        statistics = "batch statistics" if self.batch_statistics else "running statistics"
        return f"{statistics}, {'no dropout' if self.dropout_key is None else 'a fixed dropout mask'}"


def objective(
    apply: Callable[..., Any],
    measure: Measure,
    model_state: Any,
    *,
    batch_statistics: bool = False,
    dropout_key: jax.Array | None = None,
) -> Objective:
    """Turns a model into a function of its parameters and a batch that is the same at every call.

    Batch normalization has another Hessian with batch statistics than with running ones, and dropout another with
    every mask; `tricks.curvature` keeps with its results which of them it was.

    Args:
        apply: a model as `tricks.models.build` returns it.
        measure: one of `MEASURES`, or your own of that form.
        model_state: the running statistics.
        batch_statistics: normalize with those of the batch, as in training; otherwise with the running ones.
        dropout_key: of a mask that stays the same; None for no dropout.

    Returns:
        `loss_fn(params, batch) -> loss`, with the attribute `mode`.

    >>> def apply(params, state, x, *, rng, batch_statistics):
    ...     return x @ params, state
    >>> loss_fn = objective(apply, squared_error, {})
    >>> float(loss_fn(jnp.ones((2, 1)), Batch(jnp.ones((3, 2)), jnp.zeros(3)))), loss_fn.mode
    (4.0, 'running statistics, no dropout')
    """
    return Objective(apply, measure, model_state, batch_statistics, dropout_key)


def _is_largest(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return (jnp.argmax(outputs, axis=-1) == targets).astype(outputs.dtype)
