"""A run as the diagnosis reads it: also one that diverged, was interrupted, or goes on."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import tricks
from tricks import config as configuration
from tricks.cli.json_files import read_json
from tricks.config import Config
from tricks.data import Dataset
from tricks.diagnosis import finished_run, replay
from tricks.diagnosis.replay import Replay
from tricks.errors import UserError
from tricks.models import Network
from tricks.training import assembly, records, run_directory
from tricks.training.assembly import Static
from tricks.training.loop import Rules
from tricks.training.records import Record
from tricks.training.sources import Sources
from tricks.training.state import LoopState, TrainState, Weights, weights


class Subject(NamedTuple):
    """What of a run directory is diagnosed."""

    workdir: Path
    replay: Replay
    records: list[Record]
    summary: dict[str, Any]
    status: str
    """`completed`, `stopped early`, `interrupted`, `diverged` or `going on`."""
    state: LoopState | None
    """Of the newest checkpoint."""
    missing: list[str]
    """What there is not, in sentences."""

    @property
    def config(self) -> Config:
        """Of the run."""
        return self.replay.config

    @property
    def own(self) -> Sources:
        """What of it is a person's own."""
        return self.replay.setup.own

    @property
    def data(self) -> Dataset:
        """Its examples."""
        return self.replay.setup.data

    @property
    def static(self) -> Static:
        """What its programs are compiled for."""
        return self.replay.setup.static

    @property
    def rules(self) -> Rules:
        """When it ends."""
        return self.replay.setup.rules

    @property
    def network(self) -> Network:
        """As it is evaluated."""
        return assembly.make_network(self.static)

    @property
    def train(self) -> TrainState | None:
        """The state of the newest checkpoint."""
        return None if self.state is None else self.state.train

    @property
    def last(self) -> Weights | None:
        """Its weights."""
        return None if self.state is None else weights(self.state.train)

    @property
    def best(self) -> Weights | None:
        """Those of the best validation."""
        return None if self.state is None else self.state.best


def read(workdir: Path) -> Subject:
    """Reads a run directory, and changes nothing in it.

    Args:
        workdir: the run directory.

    Returns:
        `Subject`.

    Raises:
        UserError: it is no run directory, cannot be read, or holds nothing that was trained.
    """
    config, _ = finished_run.config_of(workdir)
    if config.data.storage == "disk":
        raise UserError(
            f"--workdir {workdir} cannot be diagnosed: its data.storage is 'disk', and a diagnosis looks at all "
            "examples; train a share of them with data.storage=memory and data.train_fraction, and diagnose that"
        )
    found = replay.of_run(workdir)
    lines = records.read(workdir)
    summary = _summary(workdir)
    if not lines and not summary:
        raise UserError(f"--workdir {workdir} holds no {records.FILE} with a line; train it for an epoch first")
    status = "going on" if run_directory.in_use(workdir) else summary.get("status", "interrupted")
    missing: list[str] = []
    state = _state(found, workdir, missing)
    return Subject(workdir, found, lines, summary, status, state, missing)


def fields_of(subject: Subject) -> dict[str, Any]:
    """What of a run stands at the head of its report.

    Args:
        subject: the run.

    Returns:
        Plain values by name.
    """
    config = subject.config
    defaults = configuration.flatten(Config())
    changed = {n: v for n, v in configuration.flatten(config).items() if n not in defaults or v != defaults[n]}
    last = max((r.step for r in subject.records), default=0)
    return {
        "name": subject.workdir.name,
        "workdir": str(subject.workdir),
        "step": last,
        "epochs": subject.rules.epoch_of(last),
        "planned_epochs": config.train.epochs,
        "status": subject.status,
        "message": subject.summary.get("message"),
        "seconds": subject.summary.get("seconds"),
        "config": {n: list(v) if isinstance(v, tuple) else v for n, v in changed.items()},
        "tricks": tricks.__version__,
    }


def _summary(workdir: Path) -> dict[str, Any]:
    path = workdir / "summary.json"
    if not path.exists():
        return {}
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--workdir {workdir} cannot be used: its summary.json is damaged ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"--workdir {workdir} cannot be used: its summary.json is damaged")
    return found


def _state(found: Replay, workdir: Path, missing: list[str]) -> LoopState | None:
    what = "what needs trained weights"
    try:
        state = replay.stored(found, workdir)
    except UserError as error:
        missing.append(f"{what}: {error}")
        return None
    if state is None:
        missing.append(f"{what}: the run has no checkpoint")
        return None
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(weights(state.train)))):
        missing.append(f"{what}: those of the checkpoint are not finite")
        return None
    return state
