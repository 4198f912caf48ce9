"""The examples of many lanes on the devices: what several lanes share is there once."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks.data import Dataset
from tricks.losses import Batch
from tricks.memory import bytes_of
from tricks.training import evaluation


class Table(NamedTuple):
    """Different arrays of the same shape, below each other, and which of them each lane takes."""

    arrays: Any
    """(d n, ...)."""
    rows: int
    """n."""
    places: Mapping[int, int]
    """From 0 to d - 1, for the number of each lane."""


class LaneData(NamedTuple):
    """Of a group of lanes, on the host."""

    features: Table
    targets: Table
    evaluated: Mapping[str, tuple[Any, ...]]
    """For `validation` and `test`: the splits that differ."""
    places: Mapping[int, int]
    """Which of those each lane takes."""


def tables(data: Mapping[int, Dataset]) -> LaneData:
    """Puts the examples of all lanes together; arrays that are the same object are there once.

    Args:
        data: for the number of each lane; all of the same shapes.

    Returns:
        `LaneData`.
    """
    different, places = _different({number: one.validation for number, one in data.items()})
    tests, _ = _different(
        {number: one.validation for number, one in data.items()}, {n: d.test for n, d in data.items()}
    )
    return LaneData(
        _table({number: one.train.features for number, one in data.items()}),
        _table({number: one.train.targets for number, one in data.items()}),
        {"validation": tuple(different), "test": tuple(tests)},
        places,
    )


def bytes_on_device(data: LaneData) -> int:
    """What `training` and `blocks` will take there.

    Args:
        data: of the lanes.

    Returns:
        Bytes.
    """
    return bytes_of((data.features.arrays, data.targets.arrays)) + sum(map(bytes_of, data.evaluated.values()))


class Examples(NamedTuple):
    """What a lane gathers its batches from: tables that all lanes share, and the rows that its own arrays begin at."""

    features: Any
    targets: Any
    first_features: Any
    first_targets: Any


def gather(examples: Examples, rows: jax.Array) -> Batch:
    """A batch of one lane.

    Args:
        examples: with the scalars of the lane.
        rows: (batch,) of its own examples.

    Returns:
        The batch.
    """
    at = examples.first_features + rows
    return Batch(jax.tree.map(lambda a: a[at], examples.features), examples.targets[examples.first_targets + rows])


def on_devices(data: LaneData, mesh: Mesh) -> tuple[Any, Any]:
    """The training examples, a copy on each device.

    Args:
        data: of the lanes.
        mesh: the devices.

    Returns:
        Features and targets.
    """
    placed: tuple[Any, Any] = jax.device_put(
        (data.features.arrays, data.targets.arrays), NamedSharding(mesh, PartitionSpec())
    )
    return placed


def shapes(data: LaneData, mesh: Mesh, most: int) -> tuple[Any, list[Any]]:
    """What `on_devices` and `blocks` will give.

    Args:
        data: of the lanes.
        mesh: the devices.
        most: examples in a batch that is evaluated.

    Returns:
        Shapes of features and targets, and for each different block its shapes and the batches of a lane.
    """
    replicated = NamedSharding(mesh, PartitionSpec())

    def struct(a: np.ndarray, times: int = 1) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((times * a.shape[0], *a.shape[1:]), a.dtype, sharding=replicated)

    examples = jax.tree.map(struct, (data.features.arrays, data.targets.arrays))
    found = {}
    for splits in data.evaluated.values():
        for block in _cut(splits[0], mesh, most):
            one = jax.tree.map(functools.partial(struct, times=len(splits)), block)
            found[one.counts.shape] = one, len(block.counts)
    return examples, list(found.values())


def blocks(data: LaneData, part: str, mesh: Mesh, most: int) -> list[evaluation.Block]:
    """The examples of a split as blocks of batches, those of the different splits below each other.

    Args:
        data: of the lanes.
        part: `validation` or `test`.
        mesh: the devices, each of which gets a copy.
        most: examples in a batch.

    Returns:
        Blocks whose batches are (d batches, batch, ...).
    """
    cut = [_cut(split, mesh, most) for split in data.evaluated[part]]
    replicated = NamedSharding(mesh, PartitionSpec())
    stacked = [jax.tree.map(lambda *parts: np.concatenate(parts), *same) for same in zip(*cut, strict=True)]
    return [jax.device_put(block, replicated) for block in stacked]


def _cut(split: Any, mesh: Mesh, most: int) -> list[evaluation.Block]:
    alone = Mesh(mesh.devices.reshape(-1)[:1], ("data",))
    return evaluation.blocks(split, alone, on_device=False, most=most)


def _different(values: Mapping[int, Any], others: Mapping[int, Any] | None = None) -> tuple[list[Any], dict[int, int]]:
    """Those that are no same objects, and which each lane has."""
    found: dict[tuple[int, ...], int] = {}
    kept: list[Any] = []
    places: dict[int, int] = {}
    for number, value in values.items():
        place = tuple(map(id, jax.tree.leaves(value)))
        if place not in found:
            found[place] = len(kept)
            kept.append((others or values)[number])
        places[number] = found[place]
    return kept, places


def _table(values: Mapping[int, Any]) -> Table:
    kept, places = _different(values)
    stack: Callable[..., np.ndarray] = lambda *parts: np.concatenate(parts) if len(parts) > 1 else parts[0]  # noqa: E731
    arrays = jax.tree.map(stack, *kept)
    return Table(arrays, len(jax.tree.leaves(kept[0])[0]), places)
