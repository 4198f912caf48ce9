"""What the measurements say in the units that findings are made of: shares of what a constant answer loses."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Change(NamedTuple):
    """What one comparison did, against the run itself trained as long.

    With c the loss of the best constant answer, r that of the run and x that of the comparison, a gain is (r - x) / c:
    of all there is to learn, the share that was learned more.
    """

    name: str
    train_gain: float
    validation_gain: float
    validation_ratio: float
    """x / r."""
    train: float
    """Loss, in evaluation mode."""
    validation: float
    """The best one."""
    validation_before: float
    """Of the run."""
    overrides: Mapping[str, Any]


class Facts(NamedTuple):
    """Derived from the measurements; None for what was not measured."""

    measured: Mapping[str, Any]
    chance: float | None
    """Loss of the best constant answer."""
    train: float | None
    """Of the run, in evaluation mode, over the loss of the best constant answer; likewise the others."""
    validation: float | None
    test: float | None
    changes: Mapping[str, Change]
    seeds: tuple[Change, ...]
    """Other seeds of the same."""

    def of(self, topic: str) -> Mapping[str, Any]:
        """What was measured of a topic; nothing where it was not."""
        found = self.measured.get(topic)
        return found if isinstance(found, Mapping) else {}

    def uncertainty(self, part: str) -> float:
        """Half the width of the interval of the loss of a part, over the loss of the best constant answer."""
        interval = _get(self.measured, "gaps", part, "interval")
        return (interval[1] - interval[0]) / 2 / self.chance if interval and self.chance else 0.0

    def cure(self, *names: str) -> Change | None:
        """The change among these that helped the validation most."""
        found = [self.changes[name] for name in names if name in self.changes]
        return max(found, key=lambda change: change.validation_gain, default=None)


def derive(measured: Mapping[str, Any]) -> Facts:
    """Reads the facts off the measurements.

    Args:
        measured: by topic, as they stand in `report.json`.

    Returns:
        `Facts`.

    >>> derive({"task": {"chance_loss": 2.0}, "gaps": {"train": {"loss": 0.5}}}).train
    0.25
    """
    chance = _get(measured, "task", "chance_loss")
    rows: Sequence[Row] = measured.get("comparisons") or []
    changes, seeds = _changes(rows, measured, chance)

    def share(value: Any) -> float | None:
        return value / chance if chance and value is not None else None

    train = share(_get(measured, "gaps", "train", "loss"))
    if train is None:
        train = share(_get(measured, "curves", "last_train_loss"))
    validation = share(_get(measured, "gaps", "validation", "loss"))
    if validation is None:
        validation = share(_get(measured, "curves", "last_validation_loss"))
    test = share(_get(measured, "gaps", "test", "loss"))
    return Facts(
        measured,
        chance,
        train,
        test if validation is None else validation,
        test,
        changes,
        seeds,
    )


def _changes(
    rows: Sequence[Row], measured: Mapping[str, Any], chance: float | None
) -> tuple[dict[str, Change], tuple[Change, ...]]:
    same = [_or_the_run(row, measured) for row in rows if row["name"] == "same"]
    if not same or not chance:
        return {}, ()
    seed = same[0]["seed"]
    chance_error = 1 - (_get(measured, "task", "chance_accuracy") or 0.0)
    found: dict[str, Change] = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        if name == "same":
            continue
        paired = [
            one
            for row in rows
            if row["name"] == name
            for partner in same
            if partner["seed"] == row["seed"]
            if (one := _change(row, partner, chance, chance_error)) is not None
        ]
        if paired:
            found[name] = _middle(paired)
    first = next(row for row in same if row["seed"] == seed)
    others = [_change(row, first, chance, chance_error) for row in same if row["seed"] != seed]
    return found, tuple(one for one in others if one is not None)


def _or_the_run(same: Row, measured: Mapping[str, Any]) -> Row:
    """The run trained again, or the run itself where that was trained for longer, or for as long by another schedule:
    what it has learned by itself is no gain of a comparison."""
    own = {
        "train_loss": _get(measured, "gaps", "train", "loss"),
        "best_validation_loss": _get(measured, "curves", "best_validation_loss"),
        "train_accuracy": _get(measured, "gaps", "train", "accuracy"),
        "best_validation_accuracy": _get(measured, "gaps", "best", "validation", "accuracy"),
    }
    trained, again = _get(measured, "curves", "trained_epochs") or 0, same.get("epochs") or 0
    cut_short = trained == again and _get(measured, "run", "status") == "stopped early"
    if not (trained > again or cut_short) or own["train_loss"] is None or own["best_validation_loss"] is None:
        return same
    if same["status"] == "diverged":
        return {**same, **own, "best_train_loss": None, "status": "completed"}
    better = {name: (max if "accuracy" in name else min) for name in own}
    both = {name: (same.get(name), value) for name, value in own.items()}
    return {**same, **{n: better[n](*pair) for n, pair in both.items() if None not in pair}}


def _change(row: Row, partner: Row, chance: float, chance_error: float) -> Change | None:
    """None where either did not come to its end; a run that diverged has learned nothing."""
    if row["status"] == "diverged":
        return None
    by_errors = "loss.name" in row["overrides"]
    scale = chance_error if by_errors else chance
    before, after = (_losses(side, scale, by_errors) for side in (partner, row))
    if before is None or after is None or not scale > 0:
        return None
    return Change(
        row["name"],
        (before[0] - after[0]) / scale,
        (before[1] - after[1]) / scale,
        after[1] / before[1] if before[1] > 0 else 1.0,
        *after,
        before[1],
        row["overrides"],
    )


def _losses(side: Row, scale: float, by_errors: bool) -> tuple[float, float] | None:
    """Of training and validation, or errors where there are other losses."""
    if side["status"] == "diverged":
        return scale, scale
    if by_errors:
        found = [side.get(name) for name in ("train_accuracy", "best_validation_accuracy")]
        return None if None in found else (1 - found[0], 1 - found[1])  # type: ignore[operator]
    train = [loss for loss in (side.get("train_loss"), side.get("best_train_loss")) if loss is not None]
    validation = side.get("best_validation_loss")
    return None if not train or validation is None else (min(train), validation)


def _middle(changes: Sequence[Change]) -> Change:
    """Of several seeds the medians."""
    numbers = ("train_gain", "validation_gain", "validation_ratio", "train", "validation", "validation_before")
    return changes[0]._replace(**{name: median(getattr(one, name) for one in changes) for name in numbers})


def _get(measured: Mapping[str, Any], *path: str) -> Any:
    value: Any = measured
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
