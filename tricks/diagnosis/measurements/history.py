"""Layers over the steps of a run: of what its training logged, or of its steps taken again."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from tricks.diagnosis.replay import Replay, initial, own_programs
from tricks.losses import Batch
from tricks.training import glances
from tricks.training.records import Record

_GROWTH = 1.5  # Of the steps from one look to the next.


def of_records(records: Iterable[Record]) -> list[dict[str, Any]]:
    """What `diagnosis.every_epochs` logged.

    Args:
        records: of the run.

    Returns:
        For each time `step`, `epoch`, `gradient_norms` and `update_ratios` by layer, `dead` and `saturated`, the
        largest share of any activation; None for what there is not.

    >>> of_records([Record(4, 1, "diagnosis", {"gradient_norm/linear_0": 0.5, "dead": 0.25})])[0]["gradient_norms"]
    {'linear_0': 0.5}
    """
    return [_line(r.step, r.epoch, r.values) for r in records if r.kind == "diagnosis"]


def measure(replay: Replay, batch: Batch, *, last_step: int | None = None, seconds: float = 10.0) -> dict[str, Any]:
    """Takes the first steps of a run again and looks at its layers between chunks, ever more seldom.

    Args:
        replay: of the run.
        batch: examples that are looked at.
        last_step: where to end, at the end of an epoch; None for the last of the run.
        seconds: after which it ends in any case, not counting compilation.

    Returns:
        `history` as `of_records` gives it; `step`, how far it came; and `complete`, whether that is the last step. It
        ends before a state that is not finite.
    """
    made = replay.setup
    rules, static = made.rules, made.static
    last_step = rules.total_steps if last_step is None else last_step
    programs, look = own_programs(replay), glances.compiled(static)
    state = initial(replay).train
    history = [_line(0, 0, jax.device_get(look(replay.hyper, state, batch)))]
    ends = time.monotonic() + seconds
    step, due = 0, 1.0
    for part in replay.chunks(0, last_step):
        length = len(part.indices)
        bounds = () if static.escape is None else (np.int32(0), np.int32(length))
        state, metrics = programs.chunks[length](replay.hyper, state, part.examples, part.indices, *bounds)
        if not metrics.finite:
            break
        step += length
        is_over = time.monotonic() > ends or step == last_step
        if step >= due or is_over:
            history.append(_line(step, rules.epoch_of(step), jax.device_get(look(replay.hyper, state, batch))))
            due = step * _GROWTH
        if is_over:
            break
    return {"history": history, "step": step, "complete": step == last_step}


def _line(step: int, epoch: int, values: Mapping[str, Any]) -> dict[str, Any]:
    def named(kind: str) -> dict[str, float | None]:
        return {name.partition("/")[2]: _plain(value) for name, value in values.items() if name.startswith(f"{kind}/")}

    return {
        "step": step,
        "epoch": epoch,
        "gradient_norms": named("gradient_norm"),
        "update_ratios": named("update_ratio"),
        "dead": _plain(values.get("dead")),
        "saturated": _plain(values.get("saturated")),
    }


def _plain(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
