"""Runs side by side, and what the lectures' comparison of their losses says of one of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tricks.config import Config
from tricks.data import Dataset
from tricks.lectures.common import training

LARGER, BY, GAP = 1.5, 0.03, 0.2
_DIVERGED = 1e3
_OF_LAST = ("train", "validation", "test", "best_test", "error", "best_error")


def cause(train: float, validation: float, test: float, smaller: Sequence[float], larger: Sequence[float]) -> str:
    """Asks the lecture's questions, in their order.

    A training loss is large that is `LARGER` times and `BY` above the smallest of other networks on the same examples;
    a test loss that is `GAP` above.

    Args:
        train: training loss of the run in question.
        validation: its loss on held-out examples of the training data.
        test: on the test examples.
        smaller: training losses of less flexible networks.
        larger: of more flexible ones.

    Returns:
        `model bias`, `optimization`, `overfitting`, `mismatch` or `no fault`.

    >>> cause(1.0, 1.1, 1.2, smaller=[], larger=[0.1]), cause(1.0, 1.1, 1.2, smaller=[0.1], larger=[])
    ('model bias', 'optimization')
    >>> cause(0.1, 0.8, 0.8, smaller=[0.3], larger=[]), cause(0.1, 0.2, 0.8, smaller=[0.3], larger=[])
    ('overfitting', 'mismatch')
    """
    least = min((*smaller, *larger))
    if train > LARGER * least and train > least + BY:
        return "model bias" if least in larger else "optimization"
    if validation - train > GAP:
        return "overfitting"
    return "mismatch" if test - validation > GAP else "no fault"


def trained(
    base: Config,
    settings: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    note: Callable[[str], None],
    *,
    seen: Callable[[Dataset], Dataset] = lambda data: data,
) -> dict[str, dict[str, list[Any]]]:
    """Trains each setting with each seed.

    Args:
        base: what they have in common.
        settings: for each name values of dotted fields.
        seeds: of the runs.
        note: told how far they are.
        seen: as for `training.train_all`.

    Returns:
        For each setting, over seeds: `curve` of the training loss; `train`, `validation` and `test` loss and test
        `error` in % of the last weights; `best_test` and `best_error` of the best by validation. What diverged has
        1000 everywhere.
    """
    configs = {name: training.configured(base, changes, seeds) for name, changes in settings.items()}
    rows = iter(training.train_all([one for each in configs.values() for one in each], note, seen=seen))
    found: dict[str, dict[str, list[Any]]] = {}
    for name, each in configs.items():
        measured = [_measured(next(rows), config.train.epochs) for config in each]
        found[name] = {measure: [one[measure] for one in measured] for measure in measured[0]}
    return found


def _measured(row: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    if row["status"] == "diverged":
        return {"curve": [_DIVERGED] * epochs, **dict.fromkeys(_OF_LAST, _DIVERGED)}
    losses = (row["train_loss"][-1], row["validation_loss"][-1], row["last_test_loss"], row["test_loss"])
    errors = (100 * (1 - row[f"{weights}_accuracy"]) for weights in ("last_test", "test"))
    return {"curve": row["train_loss"], **dict(zip(_OF_LAST, (*losses, *errors), strict=True))}
