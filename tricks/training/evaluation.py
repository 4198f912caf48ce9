"""Measures over all examples of a split."""

from collections.abc import Callable, Iterable
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

BATCH = 1024
_BATCHES_AT_ONCE = 64

Sums = dict[str, jax.Array]


class Block(NamedTuple):
    """Examples that are evaluated in one dispatch."""

    batches: Batch
    counts: np.ndarray | jax.Array
    """(batches, batch): 1 for an example, 0 for padding."""


class Cut(NamedTuple):
    """Which examples a block holds."""

    rows: np.ndarray
    """(batches, batch) places in the split; 0 for padding."""
    counts: np.ndarray
    """As of the block."""


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


def blocks(split: Split, mesh: Mesh, *, on_device: bool = True, most: int = BATCH) -> list[Block]:
    """Cuts a split into blocks of equal batches, the last one padded with examples that count nothing.

    Args:
        split: what to evaluate on.
        mesh: the devices; batches are divided among them.
        on_device: put the blocks on the device; else they wait on the host.
        most: examples in a batch.

    Returns:
        Blocks that hold every example once.
    """
    found = []
    for rows, counts in cut(len(split.targets), mesh, most=most):
        batches = jax.tree.map(
            lambda a, rows=rows: a[rows.reshape(-1)].reshape(*rows.shape, *a.shape[1:]), Batch(*split)
        )
        found.append(Block(batches, counts))
    return [put(block, by_batch(mesh)) for block in found] if on_device else found


def cut(examples: int, mesh: Mesh, *, most: int = BATCH, at_once: int = _BATCHES_AT_ONCE) -> list[Cut]:
    """Which examples each block of a split holds.

    Args:
        examples: in the split.
        mesh: the devices; batches are divided among them.
        most: examples in a batch.
        at_once: batches in a block, at most; the measures do not depend on it.

    Returns:
        Rows and counts of each.
    """
    batch = -(-min(most, examples) // shares(mesh)) * shares(mesh)
    found = []
    for start in range(0, examples, batch * at_once):
        rows = np.arange(start, min(start + batch * at_once, examples))
        padding = -len(rows) % batch
        counts = np.r_[np.ones(len(rows), np.float32), np.zeros(padding, np.float32)].reshape(-1, batch)
        found.append(Cut(np.r_[rows, np.zeros(padding, rows.dtype)].reshape(-1, batch), counts))
    return found


def means(
    sums_of: Callable[[Weights, Block], Sums],
    weights: Weights,
    blocks: Iterable[Block],
    mesh: Mesh,
    examples: int,
) -> dict[str, float]:
    """Means over all examples of a split.

    Args:
        sums_of: `sums` of a network and a loss, compiled.
        weights: of the network.
        blocks: of the split, which may be made as they are asked for.
        mesh: the devices.
        examples: in all blocks.

    Returns:
        For each measure its mean.
    """
    sharding, found = by_batch(mesh), []
    for block in blocks:
        found.append(sums_of(weights, block if isinstance(block.counts, jax.Array) else put(block, sharding)))
        # No more than two are sent at a time: all together may be larger than the memory.
        jax.block_until_ready(found[-2:-1])
    parts: list[dict[str, Any]] = jax.device_get(found)
    means = {name: float(sum(part[name].astype(np.float64).sum() for part in parts) / examples) for name in parts[0]}
    return loss_first(means)
