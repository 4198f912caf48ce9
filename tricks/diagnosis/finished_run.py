"""A run that was trained, as its network, its data and its weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tricks import config as configuration
from tricks import losses
from tricks.data import Dataset
from tricks.errors import UserError
from tricks.training import checkpoints, experiment, loop, run_directory
from tricks.training.state import Weights

WEIGHTS = ("last", "best")


class FinishedRun(NamedTuple):
    """A run, read."""

    config: configuration.Config
    data: Dataset
    apply: Callable[..., Any]
    measure: losses.Measure
    weights: Weights
    step: int
    """Updates that the weights have had."""


def load(workdir: Path, weights: str = "last") -> FinishedRun:
    """Reads the config of a run directory, its data set, and the weights of its newest checkpoint.

    Args:
        workdir: the run directory.
        weights: `last`, or `best` for those of the best validation.

    Returns:
        The run.

    Raises:
        UserError: it is no run directory, is in use, or has no checkpoint that can be read.
    """
    if weights not in WEIGHTS:
        raise UserError(f"--weights is {weights!r}; allowed: {', '.join(WEIGHTS)}")
    file = workdir / run_directory.CONFIG
    if not file.is_file():
        raise UserError(f"--workdir {workdir} holds no run ({run_directory.CONFIG} is missing); train one first")
    try:
        config = configuration.unflatten(json.loads(file.read_text()))
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}") from error
    configuration.validate(config)
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"--workdir {workdir} has no checkpoints; train it for an epoch first")
    setup = experiment.set_up(config)
    with run_directory.locked(workdir):
        saved = checkpoints.open_directory(workdir / "checkpoints")
        restored = checkpoints.restore(saved, loop.initial(setup.initial))
    if restored is None:
        raise UserError(f"--workdir {workdir} has no checkpoint yet; train it for an epoch first")
    state = restored[0]
    if weights == "last":
        chosen, step = Weights(state.train.params, state.train.model_state), int(state.train.step)
    else:
        chosen, step = state.best, max(int(state.stopping.best_step), 0)
    return FinishedRun(config, setup.data, setup.apply, setup.measure, chosen, step)
