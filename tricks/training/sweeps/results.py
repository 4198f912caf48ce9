"""What a sweep came to: a row for each lane, the curves of all, and what is best."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tricks.cli.json_files import unfinished
from tricks.training.records import Record, epoch_means, measures
from tricks.training.sweeps import factors
from tricks.training.sweeps.factors import Interval
from tricks.training.sweeps.lane_files import Story
from tricks.training.sweeps.settings import Lane, shown

ROWS, CURVES = "results", "curves.parquet"


class Results(NamedTuple):
    """Of a sweep.

    Attributes:
        rows: one for each lane: `lane`, `setting`, the swept fields, `seed`, `status`, `steps`, `epochs`, `best_epoch`,
            `seconds`, and for each measure `best_SPLIT_MEASURE` and `last_SPLIT_MEASURE`; None for what there is not.
        fields: the swept ones.
        metric: the measure of the validation split that lanes are compared by.
        falls: whether it is better the lower it is.
        interrupted: whether the sweep is to go on.
    """

    rows: list[dict[str, Any]]
    fields: tuple[str, ...]
    metric: str
    falls: bool
    interrupted: bool


class Summary(NamedTuple):
    """Of a setting over its seeds."""

    setting: int
    chosen: dict[str, Any]
    validation: Interval
    test: Interval
    lanes: int
    diverged: int
    status: str
    """Of its lanes, where all have the same."""


def best_by(story: Story, step: int, metric: str, falls: bool) -> float:
    """The best validation of a lane up to a step.

    Args:
        story: of the lane.
        step: the last that counts.
        metric: the measure.
        falls: whether it is better the lower it is.

    Returns:
        NaN where there was none, or the lane has diverged: it cannot go on.
    """
    values = [r.values[metric] for r in story.records if r.kind == "validation" and r.step <= step]
    finite = [value for value in values if math.isfinite(value)]
    if not finite or story.status == "diverged":
        return math.nan
    return min(finite) if falls else max(finite)


def make(
    lanes: Sequence[Lane],
    stories: Mapping[int, Story],
    out: Collection[int],
    steps_per_epoch: Mapping[int, int],
    *,
    metric: str,
    falls: bool,
    interrupted: bool,
) -> Results:
    """Puts the results together.

    Args:
        lanes: of the sweep.
        stories: for the number of each.
        out: numbers of those that successive halving has left behind.
        steps_per_epoch: of each.
        metric: that lanes are compared by.
        falls: whether it is better the lower it is.
        interrupted: whether the sweep is to go on.

    Returns:
        `Results`.
    """
    rows = []
    for lane in lanes:
        story = stories[lane.number]
        going = "eliminated" if lane.number in out else ("interrupted" if story.step else "waiting")
        per_epoch = steps_per_epoch[lane.number]
        row = {"lane": lane.number, "setting": lane.setting, **lane.chosen, "seed": lane.config.seed}
        row |= {"status": story.status or going, "steps": story.step, "epochs": story.step / per_epoch}
        best = story.best_step if story.status != "diverged" else -1
        row |= {"best_epoch": best / per_epoch if best >= 0 else None}
        rows.append(row | {"seconds": round(story.seconds, 3)} | _measured(story) | {"message": story.message or None})
    fields = tuple(lanes[0].chosen)
    return Results(_filled(rows), fields, metric, falls, interrupted)


def _measured(story: Story) -> dict[str, float | None]:
    names = measures(list(story.records))
    rows = {
        "train": epoch_means(list(story.records)),
        "validation": [r for r in story.records if r.kind == "validation"],
        "test": [r for r in story.records if r.kind == "test"],
        "last test": [r for r in story.records if r.kind == "last test"],
    }
    found: dict[str, float | None] = {}
    for split in ("train", "validation", "test"):
        # The best of a lane that has diverged is no result of it.
        kept = [] if story.status == "diverged" else rows[split]
        best = next((r for r in kept if r.step == story.best_step), None)
        last = next(reversed(rows["last test" if split == "test" else split]), None)
        for when, record in (("best", best), ("last", last)):
            for name in names:
                value = record.values.get(name, math.nan) if record else math.nan
                found[f"{when}_{split}_{name}"] = value if math.isfinite(value) else None
    return found


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same columns in all rows, in the order of the first that has most."""
    names = [*dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)]
    return [{name: row.get(name) for name in names} for row in rows]


def summaries(results: Results) -> list[Summary]:
    """Every setting over its seeds, the best first: by the mean of the best validations of those that did not diverge,
    after all those of which fewer have diverged.

    Args:
        results: of a sweep.

    Returns:
        A `Summary` for each setting.
    """
    found = []
    for setting in dict.fromkeys(row["setting"] for row in results.rows):
        rows = [row for row in results.rows if row["setting"] == setting]
        kept = [row for row in rows if row["status"] != "diverged"]
        validation, test = (
            factors.interval([_number(row.get(f"best_{split}_{results.metric}")) for row in kept])
            for split in ("validation", "test")
        )
        statuses = {row["status"] for row in rows}
        found.append(
            Summary(
                setting,
                {field: rows[0][field] for field in results.fields},
                validation,
                test,
                len(rows),
                len(rows) - len(kept),
                statuses.pop() if len(statuses) == 1 else "",
            )
        )
    sign = 1 if results.falls else -1

    def worth(one: Summary) -> tuple[bool, int, float, int]:
        value = one.validation.mean
        left = one.status in ("eliminated", "waiting")
        return left, one.diverged, sign * value if math.isfinite(value) else math.inf, one.setting

    return sorted(found, key=worth)


def explained(results: Results) -> dict[str, float]:
    """How much of the differences between lanes each factor explains, `seed` among them.

    Args:
        results: of a sweep.

    Returns:
        A share for each factor, as `factors.explained` gives it.
    """
    sign = 1 if results.falls else -1
    values: dict[int, list[float]] = {}
    chosen: dict[int, list[Any]] = {}
    for row in results.rows:
        if row["status"] != "waiting":
            best = None if row["status"] == "diverged" else row.get(f"best_validation_{results.metric}")
            values.setdefault(row["setting"], []).append(sign * _number(best))
            chosen[row["setting"]] = [row[field] for field in results.fields]
    columns = dict(zip(results.fields, zip(*chosen.values(), strict=True), strict=True))
    return factors.explained(columns, [*values.values()]) if values else {}


def write(workdir: Path, results: Results, stories: Mapping[int, Story]) -> None:
    """Writes `results.csv`, `results.parquet` and `curves.parquet`.

    Args:
        workdir: of the sweep.
        results: of the sweep.
        stories: of all lanes.
    """
    import pyarrow
    from pyarrow import csv, parquet

    plain = [{n: shown(v) if isinstance(v, tuple) else v for n, v in row.items()} for row in results.rows]
    # Options of one's own may be numbers here and words there.
    kinds = {name: {type(row[name]) for row in plain} - {type(None)} for name in plain[0]}
    mixed = {name for name, found in kinds.items() if len(found) > 1 and found != {int, float}}
    columns = {
        name: [shown(row[name]) if name in mixed and row[name] is not None else row[name] for row in plain]
        for name in plain[0]
    }
    # So that tables of several sweeps go together where nothing diverged, or all did.
    empty = {name: pyarrow.string() if name == "message" else pyarrow.float64() for name in plain[0] if not kinds[name]}
    table = pyarrow.table({name: pyarrow.array(values, empty.get(name)) for name, values in columns.items()})
    for file, save in (
        (workdir / f"{ROWS}.csv", csv.write_csv),
        (workdir / f"{ROWS}.parquet", parquet.write_table),
        (workdir / CURVES, parquet.write_table),
    ):
        content = pyarrow.table(_curves(stories)) if file.name == CURVES else table
        save(content, unfinished(file))
        unfinished(file).replace(file)


def _curves(stories: Mapping[int, Story]) -> dict[str, list[Any]]:
    rows: list[tuple[int, Record]] = []
    for number, story in stories.items():
        kept = [r for r in story.records if r.kind != "train"] + epoch_means(list(story.records))
        rows += [(number, record) for record in sorted(kept, key=lambda r: r.step)]
    left_out = {"examples_per_second"}
    names = dict.fromkeys(name for _, r in rows for name in r.values if name not in left_out)
    return {
        "lane": [number for number, _ in rows],
        "epoch": [r.epoch for _, r in rows],
        "step": [r.step for _, r in rows],
        "split": [r.kind for _, r in rows],
        **{name: [_none(r.values.get(name)) for _, r in rows] for name in names},
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _none(value: Any) -> Any:
    return None if value is None or not math.isfinite(value) else value
