"""A run's data on the devices and its programs, as the few functions that the loop calls."""

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from tricks.data import Dataset, Split
from tricks.data.stored import is_stored
from tricks.losses import Batch
from tricks.training import evaluation, feed, programs
from tricks.training.assembly import Hyper, Static
from tricks.training.chunk import ChunkMetrics
from tricks.training.feed import Chunk, Plan
from tricks.training.loop import Check, Parts
from tricks.training.programs import Programs, Shapes
from tricks.training.read_blocks import ReadBlocks
from tricks.training.state import LoopState, TrainState, Weights

_EVALUATED = ("validation", "test")

RunChunk = Callable[[LoopState, Chunk], tuple[LoopState, ChunkMetrics, list[Check]]]


class Computation(NamedTuple):
    """What a run computes with.

    Attributes:
        start: `start() -> loop`, the state before the first step, once all programs are compiled.
        chunks: `chunks(first_step, last_step)`, as `tricks.training.feed.chunks` yields them.
        parts: what the loop computes with.
        test: `test(weights) -> means` of the measures on the test split.
    """

    start: Callable[[], LoopState]
    chunks: Callable[[int, int], Iterator[Chunk]]
    parts: Parts
    test: Callable[[Weights], dict[str, float]]


def prepare(static: Static, hyper: Hyper, data: Dataset, plan: Plan, *, on_device: bool, seed: int) -> Computation:
    """Puts the splits that are evaluated on the devices, and has all programs compiled.

    Args:
        static: what is fixed.
        hyper: the numbers.
        data: the splits.
        plan: of an epoch.
        on_device: whether the examples stay on the devices.
        seed: of the run.

    Returns:
        What the run computes with.
    """
    mesh, numbers = static.mesh, programs.as_numbers(hyper)
    blocks = {part: _blocks(getattr(data, part), static, on_device) for part in _EVALUATED}
    shapes = shapes_of_steps(static, numbers, data.train, plan, on_device=on_device)._replace(
        blocks={
            block.counts.shape: _block_shapes(block, static)
            for part in blocks.values()
            for block in (part.shapes if isinstance(part, ReadBlocks) else part)
        }
    )
    found = programs.compiled(static, shapes)

    def sums(weights: Weights, block: evaluation.Block) -> evaluation.Sums:
        return found.evaluate[block.counts.shape](weights, block)

    def evaluator(part: str) -> Callable[[Weights], dict[str, float]]:
        examples = len(getattr(data, part).targets)
        return lambda weights: evaluation.means(sums, weights, blocks[part], mesh, examples)

    def chunks(first_step: int, last_step: int) -> Iterator[Chunk]:
        return feed.chunks(
            data.train, plan, first_step=first_step, last_step=last_step, seed=seed, mesh=mesh, on_device=on_device
        )

    def start() -> LoopState:
        loop: LoopState = found.start(numbers, np.uint32(seed))
        programs.wait()
        return loop

    return Computation(
        start,
        chunks,
        Parts(
            _whole(found, numbers) if static.escape is None else _watched(found, static, numbers, data.train, seed),
            evaluator("validation"),
            lambda loop, measures: found.after_epoch(numbers, loop, measures),
        ),
        evaluator("test"),
    )


def shapes_of_steps(static: Static, numbers: Hyper, split: Split, plan: Plan, *, on_device: bool) -> Shapes:
    """What the programs of a run that take its steps are compiled for.

    Args:
        static: what is fixed.
        numbers: as `programs.as_numbers` gives them.
        split: the training part.
        plan: of an epoch.
        on_device: whether the examples stay on the devices.

    Returns:
        The shapes, without any blocks.
    """
    bounds = () if static.escape is None else (jax.ShapeDtypeStruct((), np.int32),) * 2
    return Shapes(
        jax.tree.map(lambda number: jax.ShapeDtypeStruct(number.shape, number.dtype), numbers),
        {n: (*_chunk_shapes(split, plan, n, static, on_device), *bounds) for n in set(plan.chunk_lengths)},
        {},
    )


def _whole(found: Programs, numbers: Hyper) -> RunChunk:
    def run_chunk(loop: LoopState, chunk: Chunk) -> tuple[LoopState, ChunkMetrics, list[Check]]:
        train, metrics = found.chunks[len(chunk.indices)](numbers, loop.train, chunk.examples, chunk.indices)
        return loop._replace(train=train), jax.device_get(metrics), []

    return run_chunk


def _watched(found: Programs, static: Static, numbers: Hyper, split: Split, seed: int) -> RunChunk:
    # It brings tricks.curvature, which takes longer to import than a run without it has to spare.
    from tricks.training import saddle

    assert static.escape is not None
    samples = saddle.sample(split, static.mesh, examples=static.escape.examples, seed=seed)
    check = saddle.compiled_check(static, found.loop)
    # Eigenvalues are LAPACK's, which JAX finds in SciPy: imported while the first steps are taken.
    threading.Thread(target=importlib.import_module, args=("scipy.linalg",)).start()

    def run_part(state: TrainState, chunk: Chunk, first: int, last: int) -> tuple[TrainState, ChunkMetrics]:
        run = found.chunks[len(chunk.indices)]
        return run(numbers, state, chunk.examples, chunk.indices, np.int32(first), np.int32(last))

    return saddle.in_parts(
        run_part,
        lambda watch, losses, *bounds: found.watch[len(losses)](watch, losses, *bounds),
        lambda loop: check(numbers, loop, samples, np.uint32(seed)),
        static.escape.trigger.window,
    )


def _chunk_shapes(split: Split, plan: Plan, length: int, static: Static, on_device: bool) -> tuple[Any, ...]:
    replicated, by_batch = NamedSharding(static.mesh, PartitionSpec()), feed.by_batch(static.mesh)
    shape, sharding = ((len(split.targets),), replicated) if on_device else ((length, plan.batch_size), by_batch)
    examples = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((*shape, *a.shape[1:]), a.dtype, sharding=sharding), Batch(*split)
    )
    if on_device:
        return examples, jax.ShapeDtypeStruct((length, plan.batch_size), np.int32, sharding=by_batch)
    return examples, jax.ShapeDtypeStruct((length,), np.int32, sharding=replicated)


def _blocks(split: Split, static: Static, on_device: bool) -> list[evaluation.Block] | ReadBlocks:
    if is_stored(split.features):
        return ReadBlocks(split, static.mesh)
    return evaluation.blocks(split, static.mesh, on_device=on_device)


def _block_shapes(block: evaluation.Block, static: Static) -> Any:
    by_batch = feed.by_batch(static.mesh)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=by_batch), block)
