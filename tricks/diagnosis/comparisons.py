"""Comparison runs: the same training with one thing changed, all in one sweep that stays in memory."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tricks import config as configuration
from tricks.config import Config
from tricks.data import Dataset
from tricks.diagnosis.comparison_plan import Comparison
from tricks.diagnosis.measurements import gaps
from tricks.training.records import epoch_means
from tricks.training.sources import Sources
from tricks.training.sweeps import in_memory
from tricks.training.sweeps.lane_files import Story
from tricks.training.sweeps.settings import Lane, with_setting

_SAMPLE = 2000  # Training examples that the weights are evaluated on.
_POINTS = 60


def lanes_of(config: Config, comparisons: Sequence[Comparison]) -> list[Lane]:
    """A lane for each comparison and seed.

    Args:
        config: of the run.
        comparisons: each with the fields that it changes.

    Returns:
        Lanes, in order; the number of the setting is that of the comparison.
    """
    found: list[Lane] = []
    for place, one in enumerate(comparisons):
        first = one.changes.get("seed", config.seed)
        for seed in range(first, first + one.seeds):
            found.append(Lane(len(found), place, dict(one.changes), _changed(config, one.changes, seed)))
    return found


def train(
    lanes: Sequence[Lane],
    find: Callable[[Config], Sources],
    *,
    seconds: float = math.inf,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[int, Story], dict[int, str]]:
    """Trains lanes side by side. The last lines of each are `test`, of the best weights, and `last test`: both in
    evaluation mode on a sample of its training examples.

    Args:
        lanes: what is trained.
        find: what of a config is a person's own.
        seconds: after which no more is begun.
        note: told of the steps that are done, and of all.

    Returns:
        What happened to each lane by its number, and why others cannot be trained.
    """
    return in_memory.train(lanes, find, seen=_with_training_sample, seconds=seconds, note=note)


def rows(
    lanes: Sequence[Lane], comparisons: Sequence[Comparison], stories: Mapping[int, Story], base: Config
) -> list[dict[str, Any]]:
    """What came of the comparison runs.

    Args:
        lanes: that were trained.
        comparisons: that they are of.
        stories: what happened to each.
        base: the config of the run.

    Returns:
        For each lane that has ended a row with `name`, `overrides` (of the run's own config), `seed`, `status`,
        `epochs`; `train_loss` of the last weights and `best_train_loss` of the best, in evaluation mode;
        `validation_loss` of the last and `best_validation_loss`; the same of other measures; `curve`.
    """
    found = []
    for lane in lanes:
        story = stories.get(lane.number)
        if story is None or not story.status:
            continue
        one = comparisons[lane.setting]
        row = {
            "name": one.name,
            "overrides": _differing(base, one),
            "seed": lane.config.seed,
            "status": story.status,
            "epochs": max((r.epoch for r in story.records), default=0),
        }
        found.append(row | _measured(story))
    return found


def _measured(story: Story) -> dict[str, Any]:
    lines = list(story.records)
    validations = [r for r in lines if r.kind == "validation"]
    result: dict[str, Any] = {}
    for kind, prefix in (("last test", "train"), ("test", "best_train")):
        for line in (r for r in lines if r.kind == kind):
            result |= {f"{prefix}_{name}": _plain(value) for name, value in line.values.items()}
    if validations:
        best = min(validations, key=lambda r: r.values["loss"] if math.isfinite(r.values["loss"]) else math.inf)
        for line, prefix in ((validations[-1], "validation"), (best, "best_validation")):
            result |= {f"{prefix}_{name}": _plain(value) for name, value in line.values.items()}
        result["best_epoch"] = best.epoch
    if story.status == "diverged":
        result |= dict.fromkeys([n for n in result if n != "best_epoch"])
        result["message"] = story.message
    train = {r.epoch: r.values.get("loss") for r in epoch_means(lines)}
    curve = [[r.epoch, _plain(train.get(r.epoch)), _plain(r.values["loss"])] for r in validations]
    every = max(len(curve) // _POINTS, 1)
    result["curve"] = curve[::every] if len(curve) % every == 1 or every == 1 else [*curve[::every], curve[-1]]
    return result


def _changed(config: Config, changes: Mapping[str, Any], seed: int) -> Config:
    changed = with_setting(config, {f: v for f, v in changes.items() if v is not None})
    for field in (f for f, v in changes.items() if v is None):
        section, name = field.split(".")
        setattr(getattr(changed, section), name, {})
    changed.seed = seed
    return changed


def _differing(base: Config, one: Comparison) -> dict[str, Any]:
    """What a comparison is about, without what all of them have in common."""
    fields = configuration.flatten(base)
    in_common: tuple[str, ...] = ("escape.", "curvature.", "diagnosis.", "early_stopping.", "data.placement", "mesh.")
    in_common += () if one.name in ("longer", "subset") else ("train.epochs",)
    return {
        field: list(value) if isinstance(value, tuple) else value
        for field, value in one.changes.items()
        if fields.get(field) != value and not field.startswith(in_common)
    }


def _with_training_sample(data: Dataset) -> Dataset:
    return data._replace(test=gaps.taken(data.train, _SAMPLE))


def _plain(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
