"""Trainings of configs: many side by side, or one whose weights are kept."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from tricks.config import Config
from tricks.data import Dataset, prepared
from tricks.errors import DivergedError, UserError
from tricks.training import computation, experiment, sources
from tricks.training.loop import Sinks
from tricks.training.records import Record, epoch_means
from tricks.training.setup import Setup, set_up
from tricks.training.state import LoopState
from tricks.training.sweeps import in_memory
from tricks.training.sweeps.settings import Lane, with_setting


def images() -> str:
    """The set of images that is there: `mnist` where it is prepared, else `digits`.

    >>> images() in ("mnist", "digits")
    True
    """
    try:
        prepared.read("mnist")
    except UserError:
        return "digits"
    return "mnist"


def configured(base: Config, changes: Mapping[str, Any], seeds: Iterable[int]) -> list[Config]:
    """A config for each seed.

    Args:
        base: what they have in common.
        changes: a value for each dotted field.
        seeds: of the runs.

    Returns:
        Configs in the order of the seeds.

    >>> [config.seed for config in configured(Config(), {"train.epochs": 3}, range(2))]
    [0, 1]
    """
    return [with_setting(base, {**changes, "seed": seed}) for seed in seeds]


def train_all(
    configs: Sequence[Config],
    note: Callable[[str], None],
    *,
    seen: Callable[[Dataset], Dataset] = lambda data: data,
) -> list[dict[str, Any]]:
    """Trains many configs side by side, as lanes of a sweep; no files are written.

    Args:
        configs: of any kind; those that differ in numbers and seeds alone share a program.
        note: told how far they are.
        seen: `seen(data) -> data`, what is trained and evaluated on in place of what was loaded.

    Returns:
        For each config `summary` of its run, with `test_…` of the best weights by validation and `last_test_…`.
    """
    lanes = [Lane(number, number, {}, config) for number, config in enumerate(configs)]
    told = [0]

    def noted(done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        if percent >= told[0] + 10:
            told[0] = percent
            note(f"{percent} % of {len(lanes)} runs")

    stories, refused = in_memory.train(lanes, lambda config: sources.find(config, ()), seen=seen, note=noted)
    if refused:
        raise UserError(next(iter(refused.values())))
    return [summary(lane.config, stories[lane.number].status, stories[lane.number].records) for lane in lanes]


def summary(config: Config, status: str, records: Iterable[Record]) -> dict[str, Any]:
    """A run in plain values.

    Args:
        config: of the run.
        status: how it ended.
        records: its lines of metrics.

    Returns:
        `seed`, `status`, `epochs` (of the validations, from 0), `train_loss` (the mean over each epoch's steps, from
        epoch 1), `validation_loss`, and the same of other measures; `test_…` of the best weights by validation, and
        `last_test_…` of the last where they were tested. Of a run that diverged these are None.
    """
    lines = list(records)
    validations = [line for line in lines if line.kind == "validation"]
    found: dict[str, Any] = {"seed": config.seed, "status": status, "epochs": [line.epoch for line in validations]}
    # Of a run that diverged in its first epoch there are none.
    for kind, rows in (("train", epoch_means(lines)), ("validation", validations)):
        names = [n for n in (rows[-1].values if rows else {}) if n == "loss" or "accuracy" in n or "error" in n]
        found |= {f"{kind}_{name}": [_plain(line.values[name]) for line in rows] for name in names or ["loss"]}
    measured = [name.removeprefix("validation_") for name in found if name.startswith("validation_")]
    for kind, prefix in (("test", "test"), ("last test", "last_test")):
        tested = [one for one in lines if one.kind == kind]
        if not tested and status == "diverged":
            found |= {f"{prefix}_{name}": None for name in measured}
        for line in tested:
            found |= {f"{prefix}_{name}": _plain(value) for name, value in line.values.items()}
    return found


class Trained(NamedTuple):
    """One run with what it was made of."""

    summary: dict[str, Any]
    state: LoopState
    """The last one; `state.best` are the best weights by validation."""
    setup: Setup
    """Its data, network and loss."""
    computed: computation.Computation
    """Evaluates and tests weights."""


def train_one(config: Config, look: Callable[[int, Any], None] = lambda step, state: None) -> Trained:
    """Trains one config as `train.py` does, and keeps its weights; no files are written.

    Args:
        config: what to train.
        look: `look(step, state)` is called after each validation with the `TrainState`.

    Returns:
        The run. One that diverges has the status `diverged` and the state before its first step.
    """
    setup = set_up(config)
    computed = computation.prepare(
        setup.static, setup.hyper, setup.data, setup.plan, on_device=setup.on_device, seed=config.seed
    )
    lines: list[Record] = []
    first = computed.start()
    sinks = Sinks(lines.append, look, lambda state: None, lambda: False)
    try:
        state, _, status = experiment.train(
            computed, setup.rules, first, sinks, patience=config.early_stopping.patience
        )
    except DivergedError:
        state, status = computed.start(), "diverged"
    return Trained(summary(config, status, lines), jax.block_until_ready(state), setup, computed)


def _plain(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
