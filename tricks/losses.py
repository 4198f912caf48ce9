"""What is minimized: losses that say what they need, and the mean loss that training differentiates."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_choice

__all__ = [
    "LOSSES",
    "Batch",
    "Loss",
    "Measures",
    "Mix",
    "Objective",
    "cross_entropy",
    "loss_first",
    "mean_loss",
    "named",
    "objective",
    "sigmoid",
    "softmax_squared_error",
    "squared_error",
]

Measures = dict[str, jax.Array]


class Mix(NamedTuple):
    """Of mixup: what else each example is, and how much of it is what it was."""

    targets: Any
    """Of the other example, in the shape of the batch's own targets."""
    weight: jax.Array
    """(batch,), from 0 to 1: the share of the batch's own targets."""


class Batch(NamedTuple):
    """Examples: a pytree of features (batch, ...), targets (batch, ...): class indices, or numbers for a regression."""

    features: Any
    targets: Any
    mix: Mix | None = None
    """None, but in training with mixup."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """What is minimized, and what it needs.

    Attributes:
        measures: `measures(outputs, targets)` gives the measures of each example by name, each (batch,), among them
            `loss`, which is minimized.
        names: of the measures.
        count_outputs: `count_outputs(classes)` is the number of outputs that a network must have for targets of so
            many classes, or for numbers where that is None; it raises ValueError for targets that the loss cannot take,
            and says which it takes.
    """

    measures: Callable[[jax.Array, jax.Array], Measures]
    names: tuple[str, ...]
    count_outputs: Callable[[int | None], int]

    def __call__(self, outputs: jax.Array, targets: jax.Array) -> Measures:
        """The measures of each example.

        Raises:
            ValueError: they are not those of `names`, or `loss` is not among them.
        """
        measures = self.measures(outputs, targets)
        if set(measures) != set(self.names) or "loss" not in measures:
            raise ValueError(
                f"measures are {', '.join(measures)} and names {', '.join(self.names)}; allowed: the same ones, with "
                "loss among them"
            )
        return measures


def _cross_entropy(outputs: jax.Array, targets: jax.Array) -> Measures:
    """-ln softmax(outputs)[target], and whether the largest output is the target's.

    Args:
        outputs: (batch, classes).
        targets: (batch,) class indices.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> {name: round(float(v[0]), 4) for name, v in _cross_entropy(jnp.zeros((1, 4)), jnp.array([0])).items()}
    {'loss': 1.3863, 'accuracy': 1.0}
    """
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    return {"loss": loss, "accuracy": _is_largest(outputs, targets)}


def _softmax_squared_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """sum_k (onehot_k - softmax(outputs)_k)^2, the lectures' other loss for classification.

    Args:
        outputs: (batch, classes).
        targets: (batch,) class indices.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> {name: round(float(v[0]), 4) for name, v in _softmax_squared_error(jnp.zeros((1, 4)), jnp.array([0])).items()}
    {'loss': 0.75, 'accuracy': 1.0}
    """
    probabilities = jax.nn.softmax(outputs)
    errors = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype) - probabilities
    return {"loss": jnp.sum(errors * errors, axis=-1), "accuracy": _is_largest(outputs, targets)}


def _sigmoid(outputs: jax.Array, targets: jax.Array) -> Measures:
    """-ln of the probability of the right one of two classes, sigma(output) being that of class 1.

    Args:
        outputs: (batch, 1).
        targets: (batch,) of 0 and 1.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> {name: round(float(v[0]), 4) for name, v in _sigmoid(jnp.array([[2.0]]), jnp.array([1])).items()}
    {'loss': 0.1269, 'accuracy': 1.0}
    """
    logits = outputs[:, 0]
    loss = optax.sigmoid_binary_cross_entropy(logits, targets.astype(outputs.dtype))
    return {"loss": loss, "accuracy": ((logits > 0) == (targets > 0)).astype(outputs.dtype)}


def _squared_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """(output - target)^2, for a regression, which has no accuracy.

    Args:
        outputs: (batch, 1).
        targets: (batch,) numbers.

    Returns:
        Loss of each example, (batch,).

    >>> _squared_error(jnp.array([[3.0]]), jnp.array([1.0]))["loss"].tolist()
    [4.0]
    """
    error = outputs[:, 0] - targets
    return {"loss": error * error}


def _one_for_each_class(classes: int | None) -> int:
    if classes is None:
        raise ValueError("it takes classes, and the targets are numbers: choose squared_error")
    return classes


def _one_for_two_classes(classes: int | None) -> int:
    if _one_for_each_class(classes) != 2:
        raise ValueError(f"it takes 2 classes, and the targets have {classes} classes: choose cross_entropy")
    return 1


def _one_for_numbers(classes: int | None) -> int:
    if classes is not None:
        raise ValueError(f"it takes numbers, and the targets are {classes} classes: choose cross_entropy")
    return 1


cross_entropy = Loss(_cross_entropy, ("loss", "accuracy"), _one_for_each_class)
softmax_squared_error = Loss(_softmax_squared_error, ("loss", "accuracy"), _one_for_each_class)
sigmoid = Loss(_sigmoid, ("loss", "accuracy"), _one_for_two_classes)
squared_error = Loss(_squared_error, ("loss",), _one_for_numbers)

LOSSES = {
    "cross_entropy": cross_entropy,
    "softmax_squared_error": softmax_squared_error,
    "sigmoid": sigmoid,
    "squared_error": squared_error,
}


def named(name: str) -> Loss:
    """The loss of a name.

    Args:
        name: one of `LOSSES`.

    Returns:
        The loss.

    Raises:
        ValueError: there is none of that name.

    >>> named("squared_error").names
    ('loss',)
    """
    require_choice("name", name, LOSSES)
    return LOSSES[name]


def loss_first(measures: Mapping[str, Any]) -> dict[str, Any]:
    """The measures in the order in which they are shown: the loss, then the others by name, as JAX sorts them.

    >>> list(loss_first({"accuracy": 0.9, "loss": 0.3}))
    ['loss', 'accuracy']
    """
    return {name: measures[name] for name in sorted(measures, key=lambda name: (name != "loss", name))}


def mean_loss(apply: Callable[..., Any], loss: Loss) -> Callable[..., Any]:
    """Turns a model and a loss into the function that training differentiates.

    Args:
        apply: of a `tricks.models.Network`.
        loss: one of `LOSSES`, or your own.

    Returns:
        `loss_fn(params, model_state, batch, rng) -> (loss, (new_model_state, measures))`, means over the batch;
        `rng=None` means evaluation mode.

    >>> loss_fn = mean_loss(lambda params, state, x, rng: (x @ params, state), squared_error)
    >>> value, _ = loss_fn(jnp.ones((2, 1)), {}, Batch(jnp.ones((3, 2)), jnp.zeros(3)), None)
    >>> float(value)
    4.0
    """

    def loss_fn(params: Any, model_state: Any, batch: Batch, rng: jax.Array | None) -> Any:
        outputs, new_model_state = apply(params, model_state, batch.features, rng=rng)
        measures = jax.tree.map(jnp.mean, _measured(loss, outputs, batch))
        return measures["loss"], (new_model_state, measures)

    return loss_fn


def _measured(loss: Loss, outputs: Any, batch: Batch) -> Measures:
    measures = loss(outputs, batch.targets)
    if batch.mix is None:
        return measures
    weight, others = batch.mix.weight, loss(outputs, batch.mix.targets)
    return {name: weight * value + (1 - weight) * others[name] for name, value in measures.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """`loss_fn(params, batch) -> loss` of a network at rest: what curvature is measured of. Made by `objective`."""

    apply: Callable[..., Any]
    loss: Loss
    model_state: Any
    batch_statistics: bool
    dropout_key: jax.Array | None

    def __call__(self, params: Any, batch: Batch) -> jax.Array:
        """The mean loss over the batch."""
        outputs, _ = self.apply(
            params, self.model_state, batch.features, rng=self.dropout_key, batch_statistics=self.batch_statistics
        )
        return jnp.mean(self.loss(outputs, batch.targets)["loss"])

    @property
    def mode(self) -> str:
        """What batch normalization and dropout do, in words."""
        statistics = "batch statistics" if self.batch_statistics else "running statistics"
        return f"{statistics}, {'no dropout' if self.dropout_key is None else 'a fixed dropout mask'}"


def objective(
    apply: Callable[..., Any],
    loss: Loss,
    model_state: Any,
    *,
    batch_statistics: bool = False,
    dropout_key: jax.Array | None = None,
) -> Objective:
    """Turns a model into a function of its parameters and a batch that is the same at every call.

    Batch normalization has another Hessian with batch statistics than with running ones, and dropout another with
    every mask; `tricks.curvature` keeps with its results which of them it was.

    Args:
        apply: of a `tricks.models.Network`.
        loss: one of `LOSSES`, or your own.
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
    return Objective(apply, loss, model_state, batch_statistics, dropout_key)


def _is_largest(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return (jnp.argmax(outputs, axis=-1) == targets).astype(outputs.dtype)
