"""Epochs of chunks, with validation, early stopping and checkpoints."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from tricks.errors import DivergedError
from tricks.losses import loss_first
from tricks.training.assembly import Progress
from tricks.training.chunk import ChunkMetrics
from tricks.training.feed import Chunk
from tricks.training.records import Record
from tricks.training.state import LoopState, TrainState, Weights, weights


class Rules(NamedTuple):
    """When the loop ends and saves."""

    steps_per_epoch: int
    total_steps: int
    save_every_epochs: int

    def epoch_of(self, step: int) -> int:
        """The epoch that a step belongs to, from 1; 0 before the first step.

        >>> Rules(10, 100, 1).epoch_of(11)
        2
        """
        return -(-step // self.steps_per_epoch)


class Check(NamedTuple):
    """What was found between two steps of a chunk, for the records."""

    steps: int
    """Steps of the chunk before it."""
    values: Mapping[str, float | int | str]


class Parts(NamedTuple):
    """What the loop computes with.

    Attributes:
        run_chunk: `run_chunk(loop, chunk) -> (loop, metrics, checks)`.
        evaluate: `evaluate(weights) -> means` of the measures on the validation split.
        after_epoch: `after_epoch(loop, means) -> (loop, progress)`.
    """

    run_chunk: Callable[[LoopState, Chunk], tuple[LoopState, ChunkMetrics, list[Check]]]
    evaluate: Callable[[Weights], dict[str, float]]
    after_epoch: Callable[[LoopState, dict[str, np.float32]], tuple[LoopState, Progress]]


class Sinks(NamedTuple):
    """Where everything goes, and where an interruption comes from.

    Attributes:
        record: takes each line of metrics.
        inspect: called with the step and the state after each validation.
        save: writes a checkpoint.
        interrupted: asked between chunks.
    """

    record: Callable[[Record], None]
    inspect: Callable[[int, TrainState], None]
    save: Callable[[LoopState], None]
    interrupted: Callable[[], bool]


def to_all(*takers: Callable[[Record], None]) -> Callable[[Record], None]:
    """One that gives each record to several.

    >>> one, other = [], []
    >>> to_all(one.append, other.append)(Record(0, 0, "train", {}))
    >>> one == other
    True
    """

    def record(line: Record) -> None:
        for take in takers:
            take(line)

    return record


def validate(loop: LoopState, step: int, parts: Parts, rules: Rules, sinks: Sinks) -> tuple[LoopState, Progress]:
    """Evaluates the current weights, and keeps a copy of them when they are the best so far.

    Args:
        loop: the state.
        step: of the state.
        parts: what is computed with.
        rules: of the loop.
        sinks: take the line of metrics, and look at the weights.

    Returns:
        The state with its best weights and early stopping brought up to date, and what came of it.
    """
    means = parts.evaluate(weights(loop.train))
    loop, progress = parts.after_epoch(loop, {name: np.float32(value) for name, value in means.items()})
    sinks.record(Record(step, rules.epoch_of(step), "validation", means))
    sinks.inspect(step, loop.train)
    return loop, jax.device_get(progress)


def fit(
    loop: LoopState, progress: Progress, chunks: Iterable[Chunk], *, parts: Parts, rules: Rules, sinks: Sinks
) -> tuple[LoopState, Progress, str]:
    """Trains until the last step, early stopping, or an interruption.

    Records of a step are written before the checkpoint of that step, so that a resumed run can cut the records back
    to its checkpoint.

    Args:
        loop: the state to go on from; its arrays are donated.
        progress: what the last validation came to.
        chunks: from the step of `loop` on, as `tricks.training.feed.chunks` yields them.
        parts: what is computed with.
        rules: when to stop and save.
        sinks: where everything goes.

    Returns:
        The last state, what the last validation came to, and `completed`, `stopped early` or `interrupted`.

    Raises:
        DivergedError: a loss, gradient or weight was not finite; nothing of that chunk is recorded or saved.
    """
    step = int(loop.train.step)
    saved = step
    for chunk in chunks:
        if progress.stops:
            break
        started = time.perf_counter()
        loop, metrics, checks = parts.run_chunk(loop, chunk)
        seconds = time.perf_counter() - started
        wrong = not_finite(metrics, step, rules)
        if wrong:
            raise DivergedError(wrong)
        for check in checks:
            at = step + check.steps
            sinks.record(Record(at, rules.epoch_of(at), "escape", check.values))
        step += len(chunk.indices)
        sinks.record(training_record(metrics, step, rules, chunk.size / seconds))
        if chunk.last_in_epoch:
            loop, progress = validate(loop, step, parts, rules, sinks)
        stop = sinks.interrupted()
        epoch, within = divmod(step, rules.steps_per_epoch)
        if stop or (within == 0 and epoch % rules.save_every_epochs == 0):
            sinks.save(loop)
            saved = step
        if stop:
            return loop, progress, "interrupted"
    if saved != step:
        sinks.save(loop)
    return loop, progress, "completed" if step >= rules.total_steps else "stopped early"


def not_finite(metrics: ChunkMetrics, step: int, rules: Rules) -> str:
    """What of a chunk is not finite, and at which step.

    Args:
        metrics: of the chunk.
        step: before it.
        rules: of the loop.

    Returns:
        Words; empty where all is finite.
    """
    losses = metrics.steps.measures["loss"]
    wrong = ~np.isfinite(losses)
    if wrong.any():
        at = int(np.argmax(wrong))
        what = f"the loss is {losses[at]}"
    elif not np.isfinite(metrics.steps.gradient_norm[-1]) or not metrics.finite:
        at = len(wrong) - 1
        what = "the gradient or the weights are not finite"
    else:
        return ""
    return f"{what} at step {step + at + 1} (epoch {rules.epoch_of(step + at + 1)})"


def training_record(metrics: ChunkMetrics, step: int, rules: Rules, examples_per_second: float) -> Record:
    """The line of metrics of a chunk.

    Args:
        metrics: of the chunk.
        step: after it.
        rules: of the loop.
        examples_per_second: that it took.

    Returns:
        A record with the means over its steps.
    """
    means = {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.steps.measures.items()}
    rest = {
        "gradient_norm": float(metrics.steps.gradient_norm[-1]),
        "learning_rate": float(metrics.learning_rate),
        "examples_per_second": examples_per_second,
    }
    return Record(step, rules.epoch_of(step), "train", loss_first(means) | rest)
