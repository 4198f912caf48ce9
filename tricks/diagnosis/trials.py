"""Prescriptions put to the test: each beside the original, with the original's budget, on two seeds."""

import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tricks.diagnosis import comparisons
from tricks.diagnosis.comparison_plan import Comparison
from tricks.diagnosis.subject import Subject
from tricks.errors import DivergedError, UserError
from tricks.training import records, sources
from tricks.training.sweeps.settings import with_setting

_SEEDS = 2
_LEAST = 0.02
"""Of the loss, by which it must fall for a prescription to have helped."""


def run(
    subject: Subject,
    prescribed: Sequence[Mapping[str, Any]],
    *,
    seconds: float = math.inf,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Tries prescriptions. Losses are those of the last weights: best ones hide that a training has gone wrong since.

    Args:
        subject: the run.
        prescribed: each with `overrides` and `promises`.
        seconds: after which none is begun any more.
        note: of the steps that are done, and of all.

    Returns:
        For each `kept`, `sentence`, and `training` and `validation` losses: before and after, means over the seeds;
        those that could not be tried have `kept` None.
    """
    everywhere: dict[str, Any] = {
        "train.epochs": subject.config.train.epochs,
        **dict.fromkeys(("curvature.every_epochs", "diagnosis.every_epochs"), 0),
        "data.placement": "auto",
        "escape.enabled": False,
        "mesh.data": 0,
        "mesh.model": 1,
    }
    overrides = [{field: _typed(value) for field, value in one["overrides"].items()} for one in prescribed]
    plain = [place for place, changes in enumerate(overrides) if "escape.enabled" not in changes]
    plan = [Comparison("original", everywhere, seeds=_SEEDS)]
    plan += [Comparison(str(place), everywhere | overrides[place], seeds=_SEEDS) for place in plain]
    lanes = comparisons.lanes_of(subject.config, plan)
    stories, refused = comparisons.train(
        lanes, lambda config: sources.kept(subject.workdir, config), seconds=seconds, note=note
    )
    rows = comparisons.rows(lanes, plan, stories, subject.config)
    before = [row for row in rows if row["name"] == "original"]
    results = []
    for place, one in enumerate(prescribed):
        if place in plain:
            after = [row for row in rows if row["name"] == str(place)]
            own = [lane.number for lane in lanes if plan[lane.setting].name == str(place)]
            why = next((refused[number] for number in own if number in refused), "")
        else:
            after, why = _with_escape(subject, overrides[place])
        results.append(_judged(before, after, one["promises"], why, by_errors="loss.name" in overrides[place]))
    return results


def _with_escape(subject: Subject, overrides: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Saddle escape is no part of a sweep: each seed is a run of its own."""
    from tricks.training import experiment

    rows: list[dict[str, Any]] = []
    for seed in range(subject.config.seed, subject.config.seed + _SEEDS):
        config = with_setting(
            subject.config, {**overrides, "seed": seed, "curvature.every_epochs": 0, "diagnosis.every_epochs": 0}
        )
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            workdir = Path(folder) / "run"
            try:
                experiment.run(config, workdir, _folders(subject))
            except DivergedError:
                rows.append({"status": "diverged"})
                continue
            except UserError as error:
                return [], str(error)
            rows.append(_of_records(records.read(workdir)))
    return rows, ""


def _typed(value: Any) -> Any:
    """JSON has lists for tuples."""
    return tuple(value) if isinstance(value, list) else value


def _folders(subject: Subject) -> tuple[Path, ...]:
    return (Path(), *(function.main.parent for function in subject.own.functions.values()))


def _of_records(lines: list[records.Record]) -> dict[str, Any]:
    validations = [r.values["loss"] for r in lines if r.kind == "validation"]
    return {
        "status": "completed",
        "train_loss": records.epoch_means(lines)[-1].values["loss"],
        "validation_loss": validations[-1],
    }


def _judged(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    promises: str,
    why: str,
    *,
    by_errors: bool,
) -> dict[str, Any]:
    """Losses of different kinds do not compare: then errors do."""
    if not after:
        return {"kept": None, "sentence": why or "there was no time to try it"}
    result: dict[str, Any] = {"promises": promises}
    told, kept = [], False
    measure = "accuracy" if by_errors else "loss"
    for name, part in (("training", "train"), ("validation", "validation")):
        old, new = (_mean(rows, f"{part}_{measure}", by_errors) for rows in (before, after))
        result[name] = [old, new]
        helped = new is not None and (old is None or new < (1 - _LEAST) * old)
        kept |= helped and name in (promises, "validation")
        told.append(f"{name} {'error' if by_errors else 'loss'} {_shown(old)} to {_shown(new)}")
    return {"kept": kept, "sentence": f"{', '.join(told)} (means of {len(after)} seeds)", **result}


def _mean(rows: Sequence[Mapping[str, Any]], key: str, is_accuracy: bool) -> float | None:
    """None where one of them diverged: there is no mean of it."""
    values = [row.get(key) for row in rows]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return 1 - fmean(known) if is_accuracy else fmean(known)


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
