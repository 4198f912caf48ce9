"""Blocks of a split on disk, each read while the one before it is evaluated."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from tricks.data import Split
from tricks.losses import Batch
from tricks.training import evaluation
from tricks.training.evaluation import Block, Cut
from tricks.training.feed import by_batch, one_ahead, taken
from tricks.training.placement import put

_BYTES_AT_ONCE = 2**22


class ReadBlocks:
    """The blocks of `evaluation.blocks`, but smaller ones: batches, and so all measures, are the same.

    They are read onto the devices each time that they are gone through.
    """

    def __init__(self, split: Split, mesh: Mesh):
        """Reads nothing.

        Args:
            split: what to evaluate on.
            mesh: the devices; batches are divided among them.
        """
        self._split, self._mesh = split, mesh
        batch = evaluation.BATCH * sum(math.prod(a.shape[1:]) * a.dtype.itemsize for a in jax.tree.leaves(split))
        self._cuts = evaluation.cut(len(split.targets), mesh, at_once=max(1, _BYTES_AT_ONCE // batch))

    def __iter__(self) -> Iterator[Block]:
        return one_ahead(functools.partial(self._read, cut) for cut in self._cuts)

    @property
    def shapes(self) -> list[Any]:
        """For each block a `Block` of `jax.ShapeDtypeStruct`s."""
        return [
            Block(
                jax.tree.map(
                    lambda a, rows=rows: jax.ShapeDtypeStruct((*rows.shape, *a.shape[1:]), a.dtype), Batch(*self._split)
                ),
                counts,
            )
            for rows, counts in self._cuts
        ]

    def _read(self, cut: Cut) -> Block:
        sharding = by_batch(self._mesh)
        return Block(taken(self._split, cut.rows, sharding), put(cut.counts, sharding))
