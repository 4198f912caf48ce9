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
    "RESERVED",
    "Batch",
    "Loss",
    "Measures",
    "Mix",
    "Objective",
    "cross_entropy",
    "from_function",
    "loss_first",
    "mean_loss",
    "named",
    "objective",
    "sigmoid",
    "softmax_squared_error",
    "squared_error",
]

Measures = dict[str, jax.Array]
RESERVED = ("step", "epoch", "split", "learning_rate", "gradient_norm", "examples_per_second")
"""Names of what is recorded beside the measures."""


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
        count_outputs: `count_outputs(classes, shape)` is the size of the last axis of the outputs for targets of so
            many classes, or for numbers where that is None, of that shape for one example; it raises ValueError for
            targets that the loss cannot take, and says which it takes.
        takes: `classes` or `numbers`; None for both.
        output_shape: `output_shape(shape, outputs)` is the shape of a batch of outputs for targets of a shape; None
            where the loss alone knows.
    """

    measures: Callable[[Any, Any], Measures]
    names: tuple[str, ...]
    count_outputs: Callable[..., int]
    takes: str | None = None
    output_shape: Callable[[tuple[int, ...], int], tuple[int, ...]] | None = None

    def __call__(self, outputs: Any, targets: Any) -> Measures:
        """The measures of each example; those in half a precision as float32, since their sums have two digits.

        Raises:
            ValueError: they are not those of `names`, or `loss` is not among them.
        """
        measures = self.measures(outputs, targets)
        if set(measures) != set(self.names) or "loss" not in measures:
            raise ValueError(
                f"measures are {', '.join(measures)} and names {', '.join(self.names)}; allowed: the same ones, with "
                "loss among them"
            )
        return {name: _widened(values) for name, values in measures.items()}


def _widened(values: jax.Array) -> jax.Array:
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _cross_entropy(outputs: jax.Array, targets: jax.Array) -> Measures:
    """-ln softmax(outputs)[target], and whether the largest output is the target's; means where there are several.

    Args:
        outputs: (batch, ..., classes).
        targets: (batch, ...) class indices.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> {name: round(float(v[0]), 4) for name, v in _cross_entropy(jnp.zeros((1, 4)), jnp.array([0])).items()}
    {'loss': 1.3863, 'accuracy': 1.0}
    """
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    return _of_each({"loss": loss, "accuracy": _is_largest(outputs, targets)})


def _softmax_squared_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """sum_k (onehot_k - softmax(outputs)_k)^2, the lectures' other loss for classification.

    Args:
        outputs: (batch, ..., classes).
        targets: (batch, ...) class indices.

    Returns:
        Loss and accuracy of each example, both (batch,).

    >>> {name: round(float(v[0]), 4) for name, v in _softmax_squared_error(jnp.zeros((1, 4)), jnp.array([0])).items()}
    {'loss': 0.75, 'accuracy': 1.0}
    """
    probabilities = jax.nn.softmax(outputs)
    errors = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype) - probabilities
    return _of_each({"loss": jnp.sum(errors * errors, axis=-1), "accuracy": _is_largest(outputs, targets)})


def _sigmoid(outputs: jax.Array, targets: jax.Array) -> Measures:
    """-ln of the probability of the right one of two classes, sigma(output) being that of class 1.

    Args:
        outputs: (batch, 1), or in the shape of the targets.
        targets: (batch,) of 0 and 1, or (batch, ...) for several labels, each there or not.

    Returns:
        Loss and accuracy of each example, means over its labels, both (batch,).

    >>> {name: round(float(v[0]), 4) for name, v in _sigmoid(jnp.array([[2.0]]), jnp.array([1])).items()}
    {'loss': 0.1269, 'accuracy': 1.0}
    """
    logits = outputs.reshape(targets.shape)
    loss = optax.sigmoid_binary_cross_entropy(logits, targets.astype(outputs.dtype))
    return _of_each({"loss": loss, "accuracy": ((logits > 0) == (targets > 0)).astype(outputs.dtype)})


def _squared_error(outputs: jax.Array, targets: jax.Array) -> Measures:
    """(output - target)^2, the mean where there are several; a regression has no accuracy.

    Args:
        outputs: (batch, 1), or in the shape of the targets.
        targets: (batch,) or (batch, ...) numbers.

    Returns:
        Loss of each example, (batch,).

    >>> _squared_error(jnp.array([[3.0]]), jnp.array([1.0]))["loss"].tolist()
    [4.0]
    """
    error = outputs.reshape(targets.shape) - targets
    return _of_each({"loss": error * error})


def _of_each(measures: Measures) -> Measures:
    return {name: values if values.ndim == 1 else _mean_of_each(values) for name, values in measures.items()}


def _mean_of_each(values: jax.Array) -> jax.Array:
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def _one_for_each_class(classes: int | None, shape: tuple[int, ...] = ()) -> int:
    if classes is None:
        raise ValueError("it takes classes, and the targets are numbers: choose squared_error")
    return classes


def _one_for_two_classes(classes: int | None, shape: tuple[int, ...] = ()) -> int:
    if _one_for_each_class(classes) != 2:
        raise ValueError(f"it takes 2 classes, and the targets have {classes} classes: choose cross_entropy")
    return _as_many(shape)


def _one_for_numbers(classes: int | None, shape: tuple[int, ...] = ()) -> int:
    if classes is not None:
        raise ValueError(f"it takes numbers, and the targets are {classes} classes: choose cross_entropy")
    return _as_many(shape)


def _as_many(shape: tuple[int, ...]) -> int:
    return shape[-1] if shape else 1


def _with_classes(shape: tuple[int, ...], outputs: int) -> tuple[int, ...]:
    return (*shape, outputs)


def _like_targets(shape: tuple[int, ...], outputs: int) -> tuple[int, ...]:
    return shape if len(shape) > 1 else (*shape, 1)


_MEASURED = ("loss", "accuracy")
cross_entropy = Loss(_cross_entropy, _MEASURED, _one_for_each_class, "classes", _with_classes)
softmax_squared_error = Loss(_softmax_squared_error, _MEASURED, _one_for_each_class, "classes", _with_classes)
sigmoid = Loss(_sigmoid, _MEASURED, _one_for_two_classes, "classes", _like_targets)
squared_error = Loss(_squared_error, ("loss",), _one_for_numbers, "numbers", _like_targets)

LOSSES = {
    "cross_entropy": cross_entropy,
    "softmax_squared_error": softmax_squared_error,
    "sigmoid": sigmoid,
    "squared_error": squared_error,
}


def from_function(function: Callable[[Any, Any], Any], outputs: Any, targets: Any, count: int = 0) -> Loss:
    """A loss of a function of one's own.

    Args:
        function: `function(outputs, targets)` gives the measures of each example by name, each (batch,), among them
            `loss`.
        outputs: a batch of outputs, or a pytree of their `jax.ShapeDtypeStruct`s; None where they are not known yet,
            and `loss` is the only name.
        targets: the same of targets.
        count: size of the last axis of the outputs; 0 for one for each class, or for each number to predict.

    Returns:
        The loss, which knows the names of its measures.

    Raises:
        ValueError: the function gives something else.

    >>> def absolute(outputs, targets):
    ...     return {"loss": jnp.abs(outputs[:, 0] - targets)}
    >>> from_function(absolute, jnp.ones((5, 1)), jnp.ones(5)).names
    ('loss',)
    >>> from_function(lambda outputs, targets: {"loss": jnp.mean(outputs)}, jnp.ones((5, 1)), jnp.ones(5))
    Traceback (most recent call last):
    ...
    ValueError: loss is of shape (); allowed: (5,), a value for each example of the batch: leave out its mean
    """

    def count_outputs(classes: int | None, shape: tuple[int, ...] = ()) -> int:
        return count or classes or _as_many(shape)

    if outputs is None:
        return Loss(function, ("loss",), count_outputs)
    measures = jax.eval_shape(function, outputs, targets)
    if not isinstance(measures, dict) or "loss" not in measures or not all(isinstance(name, str) for name in measures):
        kind = f"the names {', '.join(map(str, measures))}" if isinstance(measures, dict) else "no dict"
        raise ValueError(f"it gives {kind}; allowed: a dict of measures by name, with loss among them")
    batch = targets.shape[0]
    for name, measure in measures.items():
        if not name.isidentifier() or name in RESERVED:
            raise ValueError(
                f"a measure is called {name!r}; allowed: letters, digits and _, and none of {', '.join(RESERVED)}, "
                "which the records have themselves"
            )
        shape = getattr(measure, "shape", None)
        if shape != (batch,):
            advice = "leave out its mean" if shape == () else "take the mean over the other axes"
            raise ValueError(
                f"{name} is of shape {shape}; allowed: ({batch},), a value for each example of the batch: {advice}"
            )
        if jnp.issubdtype(measure.dtype, jnp.complexfloating):
            raise ValueError(f"{name} is of {measure.dtype}; allowed: real numbers")
    if not jnp.issubdtype(measures["loss"].dtype, jnp.floating):
        raise ValueError(f"loss is of {measures['loss'].dtype}; allowed: floating-point numbers, which have a gradient")
    return Loss(function, tuple(loss_first(measures)), count_outputs)


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
