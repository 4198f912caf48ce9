"""A run as the diagnosis reads it: also one that diverged, was interrupted, or goes on."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tricks import config as configuration
from tricks.cli.json_files import read_json
from tricks.config import Config
from tricks.data import Dataset
from tricks.diagnosis import finished_run
from tricks.errors import UserError
from tricks.models import Network
from tricks.training import assembly, configured, records, run_directory, sources, stored_weights
from tricks.training.assembly import Hyper, Static
from tricks.training.feed import Plan
from tricks.training.loop import Rules
from tricks.training.records import Record
from tricks.training.sources import Sources
from tricks.training.state import Weights


class Subject(NamedTuple):
    """What of a run directory is diagnosed."""

    workdir: Path
    config: Config
    own: Sources
    data: Dataset
    plan: Plan
    static: Static
    hyper: Hyper
    rules: Rules
    records: list[Record]
    summary: dict[str, Any]
    status: str
    """`completed`, `stopped early`, `interrupted`, `diverged` or `going on`."""
    last: Weights | None
    best: Weights | None
    step: int
    """Of the last weights."""
    missing: list[str]
    """What there is not, in sentences."""

    @property
    def network(self) -> Network:
        """As it is evaluated."""
        return assembly.make_network(self.static)


def read(workdir: Path) -> Subject:
    """Reads a run directory, and changes nothing in it.

    Args:
        workdir: the run directory.

    Returns:
        `Subject`.

    Raises:
        UserError: it is no run directory, cannot be read, or holds nothing that was trained.
    """
    config, own = finished_run.config_of(workdir)
    lines = records.read(workdir)
    summary = _summary(workdir)
    if not lines and not summary:
        raise UserError(f"--workdir {workdir} holds no {records.FILE} with a line; train it for an epoch first")
    data = sources.load(config, own)
    mesh = Mesh(jax.devices()[:1], ("data",), axis_types=(AxisType.Auto,))
    plan = configured.plan_epoch(config, data, mesh)
    steps = plan.steps_per_epoch * config.train.epochs
    static, hyper = configured.assemble(config, data, mesh, steps, own.functions)
    status = "going on" if run_directory.in_use(workdir) else summary.get("status", "interrupted")
    missing: list[str] = []
    last, best, step = _weights(workdir, static, missing)
    rules = Rules(plan.steps_per_epoch, steps, config.checkpoint.every_epochs)
    return Subject(
        workdir, config, own, data, plan, static, hyper, rules, lines, summary, status, last, best, step, missing
    )


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
        "config": changed,
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


def _weights(workdir: Path, static: Static, missing: list[str]) -> tuple[Weights | None, Weights | None, int]:
    folder = workdir / "checkpoints"
    if not folder.is_dir() or not any(folder.iterdir()):
        missing.append("what needs trained weights: the run has no checkpoint")
        return None, None, 0
    here = NamedSharding(static.mesh, PartitionSpec())
    shapes = Weights(*jax.eval_shape(assembly.make_network(static).init, jax.random.key(0)))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes)
    try:
        last, step = stored_weights.read(folder, stored_weights.LAST, like)
        best, _ = stored_weights.read(folder, stored_weights.BEST, like)
    except UserError as error:
        missing.append(f"what needs trained weights: {error}")
        return None, None, 0
    if not all(math.isfinite(float(abs(leaf).max())) for leaf in jax.tree.leaves(last) if leaf.size):
        missing.append("what needs trained weights: those of the checkpoint are not finite")
        return None, None, step
    return last, best, step
