"""What the network makes of each part of the data, with intervals, and what a constant answer would."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from tricks.data import Split
from tricks.diagnosis.measurements import examples
from tricks.losses import Loss
from tricks.models import Apply, Network
from tricks.training.state import Weights

_BATCH = 500


class Answers(NamedTuple):
    """Of the network, for the examples of a split."""

    outputs: Any
    measures: dict[str, np.ndarray]
    """(n,) each, by name."""


def taken(split: Split, most: int, seed: int = 0) -> Split:
    """A sample of a split, always the same one; all of it where there are no more.

    >>> taken(Split(np.arange(6.0), np.arange(6)), 3).targets.shape
    (3,)
    """
    count = len(split.targets)
    if count <= most:
        return split
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    return Split(jax.tree.map(lambda a: a[rows], split.features), split.targets[rows])


def answers(network: Network, loss: Loss, weights: Weights, splits: Mapping[str, Split]) -> dict[str, Answers]:
    """Applies the network in evaluation mode.

    Args:
        network: to apply.
        loss: whose measures are taken.
        weights: of the network.
        splits: examples by name.

    Returns:
        The outputs and the measures of each example.
    """

    run = _compiled(network.apply, loss)
    return {name: _answers(run, weights, split) for name, split in splits.items()}


@functools.lru_cache(maxsize=8)
def _compiled(apply: Apply, loss: Loss) -> Callable[[Weights, Any, Any], tuple[Any, Any]]:
    def of_batch(weights: Weights, features: Any, targets: Any) -> tuple[Any, Any]:
        outputs, _ = apply(weights.params, weights.model_state, features, rng=None)
        return outputs, loss(outputs, targets)

    return jax.jit(of_batch)


def _answers(run: Any, weights: Weights, split: Split) -> Answers:
    count = len(split.targets)
    found = []
    for start in range(0, count, _BATCH):
        # The last batch is filled with examples that are cut off again: one shape is one program.
        rows = np.minimum(np.arange(start, start + _BATCH), count - 1)
        features = jax.tree.map(lambda a, rows=rows: a[rows], split.features)
        outputs, measures = jax.device_get(run(weights, features, split.targets[rows]))
        found.append(jax.tree.map(lambda a, start=start: a[: count - start], (outputs, measures)))
    outputs, measures = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    return Answers(outputs, measures)


def measure(found: Mapping[str, Answers]) -> dict[str, Any]:
    """Means over each split with 95 % intervals: mean +- 1.96 s / sqrt(n), of shares of right answers Wilson's.

    Args:
        found: as `answers` gives it.

    Returns:
        For each split `examples`, and for each measure its mean and `NAME_interval`; that of the loss is `interval`.
    """
    return {name: _of_split(answers.measures) for name, answers in found.items()}


def _of_split(measures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    result: dict[str, Any] = {"examples": len(next(iter(measures.values())))}
    for name, values in measures.items():
        values = values.astype(np.float64)
        mean = float(values.mean())
        result[name] = mean if math.isfinite(mean) else None
        two_valued = bool(np.isin(values, (0.0, 1.0)).all())
        interval = examples.wilson(float(values.sum()), len(values)) if two_valued else _around(values)
        result["interval" if name == "loss" else f"{name}_interval"] = interval
    return result


def _around(values: np.ndarray) -> list[float] | None:
    found = examples.around(values)
    return found if len(values) > 1 and math.isfinite(found[0]) else None


def of_constant(loss: Loss, targets: np.ndarray, outputs: Any) -> dict[str, float] | None:
    """The lowest mean loss that one answer to all examples reaches: what the features are worth begins below it.

    Args:
        loss: what is minimized.
        targets: (n, ...) of the training examples.
        outputs: the shape and type of a batch of outputs.

    Returns:
        The means of all measures at that answer; None where the outputs are no single array.
    """
    leaves = jax.tree.leaves(outputs)
    if len(leaves) != 1 or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        return None
    shape = leaves[0].shape[1:]

    def mean_loss(flat: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        answer = jnp.broadcast_to(flat.reshape(1, *shape), (len(targets), *shape))
        same = jax.tree.unflatten(jax.tree.structure(outputs), [answer])
        means = jax.tree.map(jnp.mean, loss(same, jnp.asarray(targets)))
        return means["loss"], means

    gradient = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))
    kind = np.dtype(leaves[0].dtype)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        (value, _), slope = jax.device_get(gradient(flat.astype(kind)))
        return float(value), np.asarray(slope, np.float64)

    found = minimize(objective, np.zeros(math.prod(shape)), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    if not math.isfinite(found.fun):
        return None
    (_, means), _ = jax.device_get(gradient(found.x.astype(kind)))
    return {name: float(value) for name, value in means.items()}
