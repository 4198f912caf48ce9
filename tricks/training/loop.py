"""Epochs of chunks, with validation, early stopping and checkpoints."""

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks import early_stopping
from tricks.curvature.attempt import NO_CHECK, Escape
from tricks.data import Split
from tricks.errors import DivergedError
from tricks.losses import Batch
from tricks.training.evaluation import Evaluation
from tricks.training.feed import Chunk, Plan
from tricks.training.records import Record
from tricks.training.state import LoopState, TrainState, Weights
from tricks.training.step import ChunkMetrics, copy_weights


class Rules(NamedTuple):
    """When the loop validates, stops and saves."""

    steps_per_epoch: int
    total_steps: int
    monitored: str
    """`loss` or `accuracy` of the validation split."""
    patience: int
    min_delta: float
    save_every_epochs: int


RunChunk = Callable[[TrainState, Chunk], tuple[TrainState, ChunkMetrics]]


def compile_chunks(
    chunk: Any, state: TrainState, split: Split, plan: Plan, mesh: Mesh, *, on_device: bool, samples: Any = None
) -> RunChunk:
    """Compiles the training chunk for every length that an epoch needs, before the first step.

    Args:
        chunk: as `tricks.training.step.make_train_chunk` makes it.
        state: the state that it will be called with.
        split: the training part.
        plan: of an epoch.
        mesh: the devices.
        on_device: whether the examples are on the device, or come chunk by chunk.
        samples: of saddle escape. Chunks in which a check is due take them; what those need is compiled for the first.

    Returns:
        `run_chunk(state, chunk) -> (state, metrics)`, which otherwise never compiles.
    """
    replicated, by_batch = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "data"))
    compiled = {}
    for length in set(plan.chunk_lengths):
        count = len(split.targets) if on_device else length * plan.batch_size
        examples = Batch(*(jax.ShapeDtypeStruct((count, *a.shape[1:]), a.dtype, sharding=replicated) for a in split))
        indices = jax.ShapeDtypeStruct((length, plan.batch_size), np.int32, sharding=by_batch)
        compiled[length] = chunk.lower(state, examples, indices).compile()

    def run_chunk(state: TrainState, work: Chunk) -> tuple[TrainState, ChunkMetrics]:
        if samples is not None and bool(state.opt_state.due):
            return chunk(state, work.examples, work.indices, samples)
        return compiled[len(work.indices)](state, work.examples, work.indices)

    return run_chunk


def initial(train: TrainState) -> LoopState:
    """The loop's state before anything was validated.

    Args:
        train: the initial state.

    Returns:
        The initial weights stand where the best will be.
    """
    return LoopState(train, _copy()(train), early_stopping.init())


def validate(
    loop: LoopState,
    step: int,
    evaluate: Callable[[Weights], Evaluation],
    rules: Rules,
    record: Callable[[Record], None],
) -> LoopState:
    """Evaluates the current weights, and keeps a copy of them when they are the best so far.

    Args:
        loop: the state.
        step: of the state.
        evaluate: loss and accuracy on the validation split.
        rules: what counts as better.
        record: takes the line of metrics.

    Returns:
        The state with its best weights and early stopping brought up to date.
    """
    result = evaluate(Weights(loop.train.params, loop.train.model_state))
    value = result.loss if rules.monitored == "loss" else -result.accuracy
    stopping, improved = _update_stopping()(
        loop.stopping, np.float32(value), np.int32(step), np.float32(rules.min_delta)
    )
    record(Record(step, -(-step // rules.steps_per_epoch), "validation", result.loss, result.accuracy))
    return loop._replace(stopping=stopping, best=_copy()(loop.train) if bool(improved) else loop.best)


def fit(
    loop: LoopState,
    chunks: Iterable[Chunk],
    *,
    run_chunk: RunChunk,
    evaluate: Callable[[Weights], Evaluation],
    rules: Rules,
    record: Callable[[Record], None],
    inspect: Callable[[int, Weights], None],
    save: Callable[[LoopState], None],
    interrupted: Callable[[], bool],
) -> tuple[LoopState, str]:
    """Trains until the last step, early stopping, or an interruption.

    Records of a step are written before the checkpoint of that step, so that a resumed run can cut the records back
    to its checkpoint.

    Args:
        loop: the state to go on from; its arrays are donated.
        chunks: from the step of `loop` on, as `tricks.training.feed.chunks` yields them.
        run_chunk: as `compile_chunks` makes it.
        evaluate: loss and accuracy on the validation split.
        rules: when to validate, stop and save.
        record: takes each line of metrics.
        inspect: called with the step and the weights after each validation.
        save: writes a checkpoint.
        interrupted: asked between chunks.

    Returns:
        The last state, and `completed`, `stopped early` or `interrupted`.

    Raises:
        DivergedError: a loss, gradient or weight was not finite; nothing of that chunk is recorded or saved.
    """
    step = int(loop.train.step)
    saved = step
    for chunk in chunks:
        if _stops(loop, rules):
            break
        started = time.perf_counter()
        state, device_metrics = run_chunk(loop.train, chunk)
        metrics = jax.device_get(device_metrics)
        seconds = time.perf_counter() - started
        _check_finite(metrics, step, rules.steps_per_epoch)
        loop = loop._replace(train=state)
        for line in _escape_records(metrics, step, rules):
            record(line)
        step += len(metrics.steps.loss)
        record(_training_record(metrics, step, rules, chunk.indices.size / seconds))
        epoch, within = divmod(step, rules.steps_per_epoch)
        if chunk.last_in_epoch:
            loop = validate(loop, step, evaluate, rules, record)
            inspect(step, Weights(loop.train.params, loop.train.model_state))
        stop = interrupted()
        if stop or (within == 0 and epoch % rules.save_every_epochs == 0):
            save(loop)
            saved = step
        if stop:
            return loop, "interrupted"
    if saved != step:
        save(loop)
    return loop, "completed" if step >= rules.total_steps else "stopped early"


def _stops(loop: LoopState, rules: Rules) -> bool:
    return bool(early_stopping.should_stop(loop.stopping, rules.patience))


@functools.cache
def _copy() -> Callable[[TrainState], Weights]:
    return jax.jit(copy_weights)


@functools.cache
def _update_stopping() -> Callable[..., Any]:
    return jax.jit(early_stopping.update)


def _check_finite(metrics: ChunkMetrics, step: int, steps_per_epoch: int) -> None:
    wrong = ~np.isfinite(metrics.steps.loss)
    if wrong.any():
        at = int(np.argmax(wrong))
        what = f"the loss is {metrics.steps.loss[at]}"
    elif not np.isfinite(metrics.steps.gradient_norm[-1]) or not metrics.finite:
        at = len(wrong) - 1
        what = "the gradient or the weights are not finite"
    else:
        return
    raise DivergedError(f"{what} at step {step + at + 1} (epoch {(step + at) // steps_per_epoch + 1})")


def _escape_records(metrics: ChunkMetrics, before: int, rules: Rules) -> Iterator[Record]:
    checks = metrics.steps.escape
    if checks is None:
        return
    for i in np.flatnonzero(checks.outcome != NO_CHECK):
        found = Escape(*(field[i] for field in checks))
        step = before + int(i) + 1
        yield Record(
            step,
            -(-step // rules.steps_per_epoch),
            "escape",
            float(found.loss_before),
            math.nan,
            outcome=found.reason,
            smallest_eigenvalue=float(found.eigenvalue),
            held_out_curvature=float(found.held_out_curvature),
            loss_after=float(found.loss_after),
            distance=float(found.distance),
            products=int(found.products),
        )


def _training_record(metrics: ChunkMetrics, step: int, rules: Rules, examples_per_second: float) -> Record:
    return Record(
        step,
        -(-step // rules.steps_per_epoch),
        "train",
        float(np.mean(metrics.steps.loss, dtype=np.float64)),
        float(np.mean(metrics.steps.accuracy, dtype=np.float64)),
        float(metrics.steps.gradient_norm[-1]),
        float(metrics.learning_rate),
        examples_per_second,
    )
