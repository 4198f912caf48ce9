"""The programs of a group of lanes: those of a run, mapped over lanes, which are divided among the devices."""

import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tricks.cli.environment import device_count
from tricks.training import assembly, chunk, evaluation, programs
from tricks.training.assembly import Hyper, Static
from tricks.training.state import LoopState, weights
from tricks.training.sweeps import lane_data
from tricks.training.sweeps.lane_data import Examples

Program = Callable[..., Any]
_KEPT = 8
_made: dict[Any, "LanePrograms"] = {}


class LanePrograms(NamedTuple):
    """Each for so many lanes at once.

    Attributes:
        start: `start(hyper, seeds) -> loops`.
        enter: `enter(mask, new, loops) -> loops`: the new ones where the mask says so; the loops are donated.
        chunks: for each length `run(hyper, trains, examples, indices) -> (trains, metrics)`; the states are donated.
        evaluate: for each shape of a block `sums(weights, block, rows)`, rows (lanes, batches).
        after_epoch: `after_epoch(hyper, loops, measures, mask) -> (loops, progress)`, of those lanes that the mask
            says; the loops are donated.
        loops: shapes and shardings of the states.
        width: lanes at once.
        mesh: of lanes.
    """

    start: Program
    enter: Program
    chunks: Mapping[int, Program]
    evaluate: Mapping[tuple[int, ...], Program]
    after_epoch: Program
    loops: LoopState
    width: int
    mesh: Mesh


def make_mesh() -> Mesh:
    """All devices of this process along `lane`: lanes have nothing to say to each other.

    >>> make_mesh().axis_names
    ('lane',)
    """
    device_count()  # Refuses what keeps programs from being compiled.
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("lane",), axis_types=(AxisType.Auto,), devices=devices)


def by_lane(mesh: Mesh) -> NamedSharding:
    """How arrays with a row for each lane lie on the devices."""
    return NamedSharding(mesh, PartitionSpec("lane"))


def of_one(loops: LoopState) -> LoopState:
    """Shapes and types of the state of one lane, random keys as their words.

    Args:
        loops: of many, as `LanePrograms` has them.

    Returns:
        A pytree of `jax.ShapeDtypeStruct`.
    """

    def one(leaf: Any) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)

    found: LoopState = jax.tree.map(one, loops)
    return found


def stacked(hypers: list[Hyper]) -> Hyper:
    """The numbers of several lanes, each (lanes,).

    >>> both = [Hyper({}, {"learning_rate": rate}, {}, {}) for rate in (0.1, 0.2)]
    >>> stacked(both).optimizer["learning_rate"].shape
    (2,)
    """
    found: Hyper = jax.tree.map(lambda *numbers: np.stack(numbers), *map(programs.as_numbers, hypers))
    return found


def compiled(static: Static, mesh: Mesh, hyper: Hyper, examples: Any, blocks: list[Any], **sizes: Any) -> LanePrograms:
    """Traces all programs of a group, and has them compiled in other threads; asked again for the same ones, it gives
    those back.

    Args:
        static: what is fixed.
        mesh: of lanes.
        hyper: as for `traced`.
        examples: likewise.
        blocks: likewise.
        sizes: likewise.

    Returns:
        The programs. The first call of each waits until it is there.
    """
    leaves, structure = jax.tree.flatten((examples, blocks))
    shapes = tuple((leaf.shape, leaf.dtype, leaf.sharding) if hasattr(leaf, "shape") else leaf for leaf in leaves)
    names = tuple(tuple(part) for part in hyper)
    precision = jax.dtypes.canonicalize_dtype(np.float64)
    place = (
        static,
        mesh,
        precision,
        names,
        structure,
        shapes,
        tuple(sorted((n, repr(value)) for n, value in sizes.items())),
    )
    if place not in _made:
        if len(_made) >= _KEPT:
            del _made[next(iter(_made))]
        _made[place] = _compiled(traced(static, mesh, hyper, examples, blocks, **sizes))
    return _made[place]


def _compiled(found: LanePrograms) -> LanePrograms:
    once = programs.run_once(found.mesh)
    return found._replace(
        start=_later(found.start, once),
        enter=_later(found.enter, once),
        chunks={length: _later(program) for length, program in found.chunks.items()},
        evaluate={shape: _later(program) for shape, program in found.evaluate.items()},
        after_epoch=_later(found.after_epoch),
    )


def traced(
    static: Static,
    mesh: Mesh,
    hyper: Hyper,
    examples: Any,
    blocks: list[Any],
    *,
    lengths: set[int],
    batch_size: int,
    width: int,
) -> LanePrograms:
    """All programs of a group, as `jax.jit(function).trace(...)` gives them.

    Args:
        static: what is fixed, with a mesh of one device: that of a lane.
        mesh: of lanes.
        hyper: the numbers of one lane.
        examples: shapes of features and targets, as `lane_data.on_devices` gives them.
        blocks: for evaluation: shapes of what `lane_data.blocks` gives, each with the number of batches of a lane.
        lengths: of chunks.
        batch_size: examples in a step of a lane.
        width: lanes at once; divides over the devices.

    Returns:
        The traced programs.
    """
    by = by_lane(mesh)
    # One lane alone is no batch of products, which XLA is slower at.
    of_device = _alone if width == mesh.size else jax.vmap

    def lanes(function: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        mapped = of_device(function, in_axes=in_axes)
        if mesh.size == 1:
            return mapped
        divided, whole = PartitionSpec("lane"), PartitionSpec()
        specs = jax.tree.map(lambda axis: whole if axis is None else divided, in_axes, is_leaf=lambda a: a is None)
        return jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("lane"), check_vma=False)

    def struct(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((width, *shape), dtype, sharding=by)

    def jit(function: Callable[..., Any], donate: int | None = None) -> Any:
        return jax.jit(function, donate_argnums=donate, out_shardings=by)

    def run(hyper: Hyper, train: Any, examples: Examples, indices: jax.Array) -> Any:
        return chunk.run(static, hyper, train, examples, indices, gather=lane_data.gather)

    def enter(mask: jax.Array, new: LoopState, old: LoopState) -> LoopState:
        return jax.tree.map(lambda a, b: jnp.where(mask, a, b), new, old)

    numbers = jax.tree.map(lambda number: struct((), number.dtype), programs.as_numbers(hyper))
    start = jit(lanes(lambda hyper, seed: assembly.start(static, hyper, jax.random.key(seed))))
    started = start.trace(numbers, struct((), np.uint32))
    loops: LoopState = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=by), started.out_info)
    own = Examples(examples[0], examples[1], struct((), np.int32), struct((), np.int32))
    of_run = jit(lanes(run, in_axes=(0, 0, Examples(None, None, 0, 0), 0)), donate=1)
    sums = functools.partial(evaluation.sums_of_rows, assembly.computing_network(static), static.loss)
    evaluate = jit(lanes(sums, in_axes=(0, None, 0)))

    def after_epoch(hyper: Hyper, loop: LoopState, measures: dict[str, jax.Array], mask: jax.Array) -> Any:
        new, progress = assembly.after_epoch(static, hyper, loop, measures)
        return enter(mask, new, loop), progress

    measures = {name: struct((), np.float32) for name in static.loss.names}
    after = jit(lanes(after_epoch), donate=1)
    return LanePrograms(
        started,
        jit(lanes(enter), donate=2).trace(struct((), np.bool_), loops, loops),
        {length: of_run.trace(numbers, loops.train, own, struct((length, batch_size), np.int32)) for length in lengths},
        {
            block.counts.shape: evaluate.trace(weights(loops.train), block, struct((batches,), np.int32))
            for block, batches in blocks
        },
        after.trace(numbers, loops, measures, struct((), np.bool_)),
        loops,
        width,
        mesh,
    )


def _alone(function: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """What `jax.vmap` gives over one lane, without a batch."""

    def call(*arguments: Any) -> Any:
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arguments)
        return jax.tree.map(lambda a: a[None], function(*map(_first, arguments, axes)))

    return call


def _first(argument: Any, axis: Any) -> Any:
    if isinstance(axis, tuple):
        return type(argument)(*map(_first, argument, axis))
    return argument if axis is None else jax.tree.map(lambda a: a[0], argument)


def _later(traced: Any, options: dict[str, Any] | None = None) -> Program:
    future: Future[Program] = _threads().submit(lambda: traced.lower().compile(options))
    return lambda *arguments: future.result()(*arguments)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
