"""Learning curves: how far they fell, whether they still fall, and how they shake."""

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from tricks.training.records import Record, epoch_means, measures

_LEFT_OUT = frozenset({"examples_per_second"})


def measure(records: Sequence[Record]) -> dict[str, Any] | None:
    """Reads the learning curves of a run from its lines of metrics.

    With L_e the mean training loss of epoch e of E, and V_e the validation loss after it:

        recent = (mean L of the third fifth .. - mean L of the last fifth) / mean L of the third fifth
        noise = median |L_e - (L_{e-1} + L_{e+1}) / 2| / median L
        oscillation = sum |L_e - L_{e-1}| / (max L - min L) over the second half; about 1 where it only falls

    Args:
        records: of a run, oldest first.

    Returns:
        `epochs`, a row for each; `first_train_loss`, `last_train_loss`, `lowest_train_loss`; `first_validation_loss`
        (before the first step), `last_validation_loss`, `best_validation_loss`, `best_epoch`; `recent`, the share by
        which the training loss fell between the middle and the end; `rising`, the share of epochs in which it rose;
        `noise`; `oscillation`; `validation_rise`, the last validation loss over the best; None where nothing was
        recorded.

    >>> lines = [Record(5 * e, e, kind, {"loss": 1 / (1 + e)}) for e in range(5) for kind in ("train", "validation")]
    >>> found = measure(lines[1:])
    >>> found["first_validation_loss"], found["last_train_loss"], found["rising"]
    (1.0, 0.2, 0.0)
    """
    lines = list(records)
    validations = [r for r in lines if r.kind == "validation"]
    trained = epoch_means(lines)
    if not validations and not trained:
        return None
    return summary(_rows(trained, validations, measures(lines)))


def summary(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of `measure` from rows of epochs, whoever recorded them.

    Args:
        epochs: rows with `epoch` (0 before the first step), `train_loss` and `validation_loss` where they are known.

    Returns:
        As `measure`.
    """
    train = [(row["epoch"], row["train_loss"]) for row in epochs if _finite(row.get("train_loss"))]
    validation = [(row["epoch"], row["validation_loss"]) for row in epochs if _finite(row.get("validation_loss"))]
    losses = [loss for _, loss in train]
    found: dict[str, Any] = {"epochs": epochs, "trained_epochs": max((e for e, _ in train), default=0)}
    if losses:
        found |= {
            "first_train_loss": losses[0],
            "last_train_loss": losses[-1],
            "lowest_train_loss": min(losses),
            "recent": _recent(losses),
            "rising": _rising(losses),
            "noise": _noise(losses),
            "oscillation": _oscillation(losses),
        }
    if validation:
        best_epoch, best = min(validation, key=lambda pair: pair[1])
        before = [loss for epoch, loss in validation if epoch == 0]
        found |= {
            "first_validation_loss": before[0] if before else None,
            "last_validation_loss": validation[-1][1],
            "best_validation_loss": best,
            "best_epoch": best_epoch,
            "validation_rise": validation[-1][1] / best if best > 0 else None,
        }
    return found


def _rows(trained: Sequence[Record], validations: Sequence[Record], names: Sequence[str]) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for prefix, lines in (("train", trained), ("validation", validations)):
        for line in lines:
            row = rows.setdefault(line.epoch, {"epoch": line.epoch, "step": line.step})
            for name, value in line.values.items():
                if name not in _LEFT_OUT:
                    row[f"{prefix}_{name}" if name in names else name] = value if _finite(value) else None
    return [rows[epoch] for epoch in sorted(rows)]


def _recent(losses: Sequence[float]) -> float | None:
    """Of the second half of the run; over windows, since single epochs shake."""
    if len(losses) < 3:
        return None if len(losses) < 2 or losses[0] <= 0 else 1 - losses[-1] / losses[0]
    window = max(len(losses) // 5, 1)
    middle = len(losses) // 2
    before, after = fmean(losses[max(middle - window, 0) : middle] or losses[:1]), fmean(losses[-window:])
    return (before - after) / before if before > 0 else None


def _rising(losses: Sequence[float]) -> float | None:
    changes = [b - a for a, b in itertools.pairwise(losses)]
    return sum(change > 0 for change in changes) / len(changes) if changes else None


def _noise(losses: Sequence[float]) -> float | None:
    away = [abs(b - (a + c) / 2) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]
    middle = median(losses)
    return median(away) / middle if away and middle > 0 else None


def _oscillation(losses: Sequence[float]) -> float | None:
    half = losses[len(losses) // 2 :]
    span = max(half) - min(half)
    if len(half) < 3 or span <= 0:
        return None
    return sum(abs(b - a) for a, b in itertools.pairwise(half)) / span


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def steps_per_second(records: Sequence[Record], batch_size: int) -> float | None:
    """How fast a run was.

    Args:
        records: of the run.
        batch_size: examples of a step.

    Returns:
        Updates in a second, the median over chunks; None where it was not recorded.
    """
    rates: list[Mapping[str, Any]] = [r.values for r in records if r.kind == "train"]
    known = [v["examples_per_second"] for v in rates if _finite(v.get("examples_per_second"))]
    return median(known) / batch_size if known else None
