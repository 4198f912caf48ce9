"""Loss and accuracy over all examples of a split."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks.data import Split
from tricks.losses import Batch, Measure
from tricks.training.state import Weights

_BATCH = 1024
_BATCHES_AT_ONCE = 64


class Evaluation(NamedTuple):
    """Means over the examples of a split; NaN for the accuracy of a regression."""

    loss: float
    accuracy: float


class _Block(NamedTuple):
    batches: Batch
    counts: np.ndarray | jax.Array
    """(batches, batch): 1 for an example, 0 for padding."""


def make_evaluate(
    apply: Callable[..., Any], measure: Measure, split: Split, mesh: Mesh, *, on_device: bool = True
) -> Callable[[Weights], Evaluation]:
    """Makes `evaluate(weights) -> Evaluation` over a whole split, in evaluation mode.

    Every example counts once, whatever the batch: the last batch is padded with examples of weight zero.

    Args:
        apply: of the model.
        measure: loss and accuracy of single examples.
        split: what to evaluate on.
        mesh: the devices; batches are divided among them.
        on_device: keep the examples on the device; else send them block by block at each evaluation.

    Returns:
        A function that compiles at its first call only.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
    blocks = _blocks(split, mesh.size)
    if on_device:
        blocks = [jax.device_put(block, sharding) for block in blocks]

    @jax.jit
    def total(weights: Weights, block: _Block) -> tuple[jax.Array, jax.Array]:
        def body(_: None, x: _Block) -> tuple[None, tuple[jax.Array, jax.Array]]:
            outputs, _state = apply(weights.params, weights.model_state, x.batches.features, rng=None)
            loss, accuracy = measure(outputs, x.batches.targets)
            # where, not a product, because NaN times zero is NaN.
            return None, (
                jnp.sum(jnp.where(x.counts > 0, loss, 0)),
                jnp.sum(jnp.where(x.counts > 0, accuracy, 0)),
            )

        return jax.lax.scan(body, None, block)[1]

    def evaluate(weights: Weights) -> Evaluation:
        sums = [total(weights, jax.device_put(block, sharding)) for block in blocks]
        losses, accuracies = np.concatenate(jax.device_get(sums), axis=1).astype(np.float64).sum(axis=1)
        return Evaluation(float(losses / len(split.targets)), float(accuracies / len(split.targets)))

    return evaluate


def _blocks(split: Split, devices: int) -> list[_Block]:
    examples = len(split.targets)
    batch = -(-min(_BATCH, examples) // devices) * devices
    blocks = []
    for start in range(0, examples, batch * _BATCHES_AT_ONCE):
        rows = np.arange(start, min(start + batch * _BATCHES_AT_ONCE, examples))
        padding = -len(rows) % batch
        counts = np.r_[np.ones(len(rows), np.float32), np.zeros(padding, np.float32)].reshape(-1, batch)
        rows = np.r_[rows, np.zeros(padding, rows.dtype)]
        features = split.features[rows].reshape(-1, batch, split.features.shape[1])
        blocks.append(_Block(Batch(features, split.targets[rows].reshape(-1, batch)), counts))
    return blocks
