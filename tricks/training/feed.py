"""Which examples each chunk of steps sees, and how they come to the device."""

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tricks import streams
from tricks.cli.environment import device_count
from tricks.data import Split, take
from tricks.data.stored import expect, windows_of
from tricks.data.windows import Order, Windows
from tricks.errors import UserError
from tricks.losses import Batch
from tricks.memory import bytes_of
from tricks.training.placement import put

T = TypeVar("T")


class Chunk(NamedTuple):
    """Examples on the devices, and where those of each step are."""

    examples: Batch
    """All of a set, (n, ...); or those of the chunk alone, (steps, batch, ...)."""
    indices: jax.Array
    """Rows of all, (steps, batch); or the steps of the chunk, (steps,)."""
    last_in_epoch: bool

    @property
    def size(self) -> int:
        """Examples of all steps."""
        of_steps = self.indices if self.indices.ndim == 2 else jax.tree.leaves(self.examples)[0]
        return int(of_steps.shape[0] * of_steps.shape[1])


class Plan(NamedTuple):
    """How an epoch is cut into dispatches."""

    batch_size: int
    chunk_lengths: tuple[int, ...]

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one epoch."""
        return sum(self.chunk_lengths)


def make_mesh(data: int = 0, model: int = 1) -> Mesh:
    """All devices in one dimension, `data`; or in two, `data` and `model`.

    Args:
        data: devices that a batch is divided among; 0 for as many as `model` leaves.
        model: devices that weights are divided among. Neighbours, as they talk the most.

    Returns:
        The mesh, without a dimension `model` where that is 1.

    Raises:
        UserError: there is no device, or the two do not come to all of them.

    >>> make_mesh().axis_names
    ('data',)
    """
    devices = device_count()
    counted = "1 device" if devices == 1 else f"{devices} devices"
    if devices % model:
        allowed = ", ".join(str(count) for count in range(1, devices + 1) if devices % count == 0)
        raise UserError(f"mesh.model is {model}; it must divide the {counted}: choose one of {allowed}")
    data = data or devices // model
    if data * model != devices:
        raise UserError(
            f"mesh.data is {data}; with mesh.model={model} and {counted} it must be {devices // model}, or 0 for that"
        )
    if model == 1:
        return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def nearest_mesh(model: int) -> Mesh:
    """All devices, with as many of them along `model` as divide both their number and another one.

    Args:
        model: along `model` where a run was trained, perhaps on other devices.

    Returns:
        The mesh.

    Raises:
        UserError: there is no device.

    >>> nearest_mesh(1).axis_names
    ('data',)
    """
    return make_mesh(model=math.gcd(model, device_count()))


def plan_epoch(examples: int, batch_size: int, chunk_steps: int, devices: int = 1) -> Plan:
    """Cuts an epoch into chunks of equal length, or of two lengths one step apart.

    What is left of the examples after the last full batch waits for another epoch's order.

    Args:
        examples: in the training part.
        batch_size: examples in one step.
        chunk_steps: most steps in one chunk.
        devices: that a batch is divided among.

    Returns:
        The plan.

    Raises:
        UserError: the batch is larger than the training part, or does not divide over the devices.

    >>> plan_epoch(1000, 32, 10)
    Plan(batch_size=32, chunk_lengths=(8, 8, 8, 7))
    """
    if batch_size > examples:
        raise UserError(
            f"data.batch_size is {batch_size}; the training part has {examples} examples: choose no more, or leave "
            "more for training (data.train_fraction, data.validation_fraction)"
        )
    if batch_size % devices:
        near = max(batch_size // devices, 1) * devices
        raise UserError(
            f"data.batch_size is {batch_size}; it must divide over the {devices} devices: choose {near}, for instance"
        )
    steps = examples // batch_size
    fewest = -(-steps // chunk_steps)
    # Equal lengths save a compilation, so somewhat shorter chunks are taken where they come out even.
    even = next((count for count in range(fewest, min(2 * fewest, steps) + 1) if steps % count == 0), fewest)
    length, longer = divmod(steps, even)
    return Plan(batch_size, (length + 1,) * longer + (length,) * (even - longer))


def by_batch(mesh: Mesh) -> NamedSharding:
    """How rows of a chunk lie on the devices: (steps, batch), each batch divided among them.

    >>> tuple(by_batch(make_mesh()).spec)
    (None, 'data')
    """
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def fits_on_device(split: Split) -> bool:
    """Whether a training set takes less than half of the device's memory."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    memory = statistics.get("bytes_limit", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return bytes_of(split) < memory / 2


def chunks(
    split: Split, plan: Plan, *, first_step: int, last_step: int, seed: int, mesh: Mesh, on_device: bool
) -> Iterator[Chunk]:
    """The chunks from one step to another, each epoch in an order of its own.

    Args:
        split: the training part.
        plan: of an epoch.
        first_step: steps done already; at the edge of a chunk.
        last_step: step after which to end.
        seed: of the order; epoch e is ordered by (seed, e), whatever came before: by `tricks.data.windows` where the
            features stay on disk.
        mesh: the devices.
        on_device: put the examples on the device once; else send the next chunk's while one is being computed.

    Yields:
        One `Chunk` after another; which rows a step sees does not depend on `on_device`.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    resident = put(Batch(*split), replicated) if on_device else None

    def load(rows: np.ndarray, last_in_epoch: bool, soon: np.ndarray | None) -> Chunk:
        if resident is not None:
            return Chunk(resident, put(rows, by_batch(mesh)), last_in_epoch)
        steps = put(np.arange(len(rows), dtype=np.int32), replicated)
        chunk = Chunk(taken(split, rows, by_batch(mesh)), steps, last_in_epoch)
        if soon is not None:
            expect(split.features, soon)
        return chunk

    windows = windows_of(split.features)
    if windows is None:
        rows = _rows(len(split.targets), plan, first_step, last_step, seed)
        made: Iterator[Callable[[], Chunk]] = (functools.partial(load, *item, None) for item in rows)
    else:
        made = (functools.partial(load, *item) for item in _rows_of_windows(windows, plan, first_step, last_step, seed))
    yield from one_ahead(made)


def one_ahead(calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What calls return, each made in a thread while what the one before it returned is used.

    Args:
        calls: one after another.

    Yields:
        What they return.

    >>> [*one_ahead([lambda: 1, lambda: 2])]
    [1, 2]
    """
    with ThreadPoolExecutor(1) as executor:
        waiting = None
        for call in calls:
            following = executor.submit(call)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def taken(split: Split, rows: np.ndarray, sharding: NamedSharding) -> Batch:
    """Examples by their rows, of which each device gets its share; of several processes each reads no other.

    Args:
        split: the examples.
        rows: (steps, batch).
        sharding: of these dimensions.

    Returns:
        A `Batch` of arrays (steps, batch, ...) on the devices.
    """
    leaves, structure = jax.tree.flatten(Batch(*split))
    read: dict[Any, list[np.ndarray]] = {}

    def part(index: Any, leaf: int) -> np.ndarray:
        here = index[:2]
        place = tuple(one.indices(size)[:2] for one, size in zip(here, rows.shape, strict=True))
        if place not in read:
            chosen = rows[here]
            read[place] = [
                a.reshape(*chosen.shape, *a.shape[1:]) for a in jax.tree.leaves(take(split, chosen.reshape(-1)))
            ]
        return read[place][leaf]

    return jax.tree.unflatten(
        structure,
        [
            jax.make_array_from_callback((*rows.shape, *a.shape[1:]), sharding, functools.partial(part, leaf=leaf))
            for leaf, a in enumerate(leaves)
        ],
    )


def rows_of_epoch(examples: int, plan: Plan, seed: int, epoch: int) -> np.ndarray:
    """Which examples the steps of an epoch see.

    Args:
        examples: in the training part.
        plan: of an epoch.
        seed: of the run.
        epoch: from 0.

    Returns:
        (steps, batch) rows, int32.

    >>> rows_of_epoch(5, Plan(2, (2,)), seed=0, epoch=0).shape
    (2, 2)
    """
    order = streams.order(seed, epoch).permutation(examples).astype(np.int32)
    return order[: plan.steps_per_epoch * plan.batch_size].reshape(plan.steps_per_epoch, plan.batch_size)


def _rows(examples: int, plan: Plan, first_step: int, last_step: int, seed: int) -> Iterator[tuple[np.ndarray, bool]]:
    for epoch in range(first_step // plan.steps_per_epoch, last_step // plan.steps_per_epoch):
        order = rows_of_epoch(examples, plan, seed, epoch)
        start = 0
        for i, length in enumerate(plan.chunk_lengths):
            if epoch * plan.steps_per_epoch + start >= first_step:
                yield order[start : start + length], i == len(plan.chunk_lengths) - 1
            start += length


def _rows_of_windows(
    windows: Windows, plan: Plan, first_step: int, last_step: int, seed: int
) -> Iterator[tuple[np.ndarray, bool, np.ndarray]]:
    """The same of a set on disk, and beside them the first rows of what is to be fetched."""
    size = plan.batch_size
    for epoch in range(first_step // plan.steps_per_epoch, last_step // plan.steps_per_epoch):
        order = Order(windows, seed, epoch)
        start = 0
        for i, length in enumerate(plan.chunk_lengths):
            if epoch * plan.steps_per_epoch + start >= first_step:
                places = start * size, (start + length) * size
                yield order.rows(*places).reshape(length, size), i == len(plan.chunk_lengths) - 1, order.ahead(*places)
            start += length
