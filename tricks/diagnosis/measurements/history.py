"""Layers over the steps of a run: of what its training logged, or of its steps taken again."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tricks.diagnosis.replay import Replay, initial, own_programs
from tricks.losses import Batch
from tricks.training import glances
from tricks.training.records import Record

_LAST, _FEWEST = 200, 10  # Losses of steps.
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
        `history` as `of_records` gives it; `step`, how far it came; `complete`, whether that is the last step; and
        `between_steps`, what `shaking` makes of the last losses. It ends before a state that is not finite.
    """
    made = replay.setup
    rules, static = made.rules, made.static
    last_step = rules.total_steps if last_step is None else last_step
    programs, look = own_programs(replay), glances.compiled(static)
    state = initial(replay).train
    history = [_line(0, 0, jax.device_get(look(replay.hyper, state, batch)))]
    ends = time.monotonic() + seconds
    step, due, losses = 0, 1.0, list[float]()
    for part in replay.chunks(0, last_step):
        length = len(part.indices)
        bounds = () if static.escape is None else (np.int32(0), np.int32(length))
        state, metrics = programs.chunks[length](replay.hyper, state, part.examples, part.indices, *bounds)
        if not metrics.finite:
            break
        step += length
        losses = [*losses, *np.asarray(metrics.steps.measures["loss"]).tolist()][-_LAST:]
        is_over = time.monotonic() > ends or step == last_step
        if step >= due or is_over:
            history.append(_line(step, rules.epoch_of(step), jax.device_get(look(replay.hyper, state, batch))))
            due = step * _GROWTH
        if is_over:
            break
    return {"history": history, "step": step, "complete": step == last_step, "between_steps": shaking(losses)}


def shaking(losses: Sequence[float]) -> dict[str, float] | None:
    """How the loss oscillates from step to step.

    noise = median |L_t - (L_{t-1} + L_{t+1}) / 2| / median L; alternating is the correlation of neighbouring changes,
    -1 for a loss that goes up and down by turns, -1/2 for noise that is independent from step to step, 0 for one that
    drifts.

    Args:
        losses: of steps in a row.

    Returns:
        `noise` and `alternating`; None of fewer than ten, or of a loss that is 0 or does not change.

    >>> found = shaking([1.0, 3.0] * 10)
    >>> found["noise"], round(found["alternating"], 3)
    (1.0, -1.0)
    """
    values = np.asarray(losses, np.float64)
    if len(values) < _FEWEST or not np.median(values) > 0:
        return None
    changes = np.diff(values)
    size = float(np.mean(changes**2))
    if size == 0:
        return None
    away = np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2)
    return {
        "noise": float(np.median(away) / np.median(values)),
        "alternating": float(np.mean(changes[1:] * changes[:-1]) / size),
    }


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
