"""Measures over all examples of a split."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tricks.data import Split
from tricks.losses import Batch, Loss, loss_first
from tricks.models import Network
from tricks.training.feed import by_batch
from tricks.training.placement import put, shares
from tricks.training.state import Weights

_BATCH = 1024
_BATCHES_AT_ONCE = 64

Sums = dict[str, jax.Array]


class Block(NamedTuple):
    """Examples that are evaluated in one dispatch."""

    batches: Batch
    counts: np.ndarray | jax.Array
    """(batches, batch): 1 for an example, 0 for padding."""


def sums(network: Network, loss: Loss, weights: Weights, block: Block) -> Sums:
    """Sums of all measures over each batch of a block, in evaluation mode.

    Args:
        network: that is evaluated.
        loss: whose measures are taken.
        weights: of the network.
        block: the examples.

    Returns:
        For each measure (batches,) sums; padding counts nothing.
    """

    return jax.lax.scan(lambda _, x: (None, _sums_of_batch(network, loss, weights, x)), None, block)[1]


def sums_of_rows(network: Network, loss: Loss, weights: Weights, block: Block, rows: jax.Array) -> Sums:
    """The same over some of the batches of a block.

    Args:
        network: that is evaluated.
        loss: whose measures are taken.
        weights: of the network.
        block: the examples.
        rows: (batches,) places of the batches in the block.

    Returns:
        For each measure (batches,) sums.
    """

    def body(_: None, row: jax.Array) -> tuple[None, Sums]:
        return None, _sums_of_batch(network, loss, weights, jax.tree.map(lambda a: a[row], block))

    return jax.lax.scan(body, None, rows)[1]


def _sums_of_batch(network: Network, loss: Loss, weights: Weights, x: Block) -> Sums:
    outputs, _state = network.apply(weights.params, weights.model_state, x.batches.features, rng=None)
    measures = loss(outputs, x.batches.targets)
    # where, not a product, because NaN times zero is NaN.
    return jax.tree.map(lambda measure: jnp.sum(jnp.where(x.counts > 0, measure, 0)), measures)


def blocks(split: Split, mesh: Mesh, *, on_device: bool = True, most: int = _BATCH) -> list[Block]:
    """Cuts a split into blocks of equal batches, the last one padded with examples that count nothing.

    Args:
        split: what to evaluate on.
        mesh: the devices; batches are divided among them.
        on_device: put the blocks on the device; else they wait on the host.
        most: examples in a batch.

    Returns:
        Blocks that hold every example once.
    """
    examples = len(split.targets)
    batch = -(-min(most, examples) // shares(mesh)) * shares(mesh)
    found = []
    for start in range(0, examples, batch * _BATCHES_AT_ONCE):
        rows = np.arange(start, min(start + batch * _BATCHES_AT_ONCE, examples))
        padding = -len(rows) % batch
        counts = np.r_[np.ones(len(rows), np.float32), np.zeros(padding, np.float32)].reshape(-1, batch)
        rows = np.r_[rows, np.zeros(padding, rows.dtype)]
        batches = jax.tree.map(lambda a, rows=rows: a[rows].reshape(-1, batch, *a.shape[1:]), Batch(*split))
        found.append(Block(batches, counts))
    return [put(block, by_batch(mesh)) for block in found] if on_device else found


def means(
    sums_of: Callable[[Weights, Block], Sums], weights: Weights, blocks: list[Block], mesh: Mesh, examples: int
) -> dict[str, float]:
    """Means over all examples of a split.

    Args:
        sums_of: `sums` of a network and a loss, compiled.
        weights: of the network.
        blocks: of the split.
        mesh: the devices.
        examples: in all blocks.

    Returns:
        For each measure its mean.
    """
    sharding = by_batch(mesh)
    found = [
        sums_of(weights, block if isinstance(block.counts, jax.Array) else put(block, sharding)) for block in blocks
    ]
    parts: list[dict[str, Any]] = jax.device_get(found)
    means = {name: float(sum(part[name].astype(np.float64).sum() for part in parts) / examples) for name in parts[0]}
    return loss_first(means)
