"""Trains cases, each into a run directory of its own, and measures what came of it."""

import contextlib
import io
import time
import traceback
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.diagnosis import files
from benchmarks.diagnosis.case import Case
from tricks import config as configuration
from tricks.cli.json_files import read_json, write_json
from tricks.config import Config
from tricks.data import Split
from tricks.diagnosis import finished_run
from tricks.errors import DivergedError, UserError
from tricks.training import experiment, records

OWN = Path(__file__).parent / "own"
RUNS, OUTCOMES, FILES = "runs", "outcomes", "files"
_DEFAULTS = {"checkpoint.every_epochs": 5}


def config_of(case: Case) -> Config:
    """The whole config of a case."""
    # A network of the fault's takes the place of the program's with all its fields.
    other = "model." if "model.build" in case.fault else "-"
    base = {field: value for field, value in case.base.items() if not field.startswith(other)}
    return configuration.unflatten(
        {**configuration.flatten(Config()), **_DEFAULTS, "seed": case.seed, **base, **case.fault}
    )


def train(case: Case, workdir: Path) -> dict[str, Any]:
    """Trains a case and measures its last weights, or goes on with it; what was done before is read.

    Args:
        case: of the corpus.
        workdir: of the corpus.

    Returns:
        Its outcome: `status` (`completed`, `stopped early`, `diverged`, or `skipped` with a `reason`), `seconds`, and
        measures of the parts under `last`.
    """
    known = outcome(case.name, workdir)
    if known is not None:
        return known
    for folder in (RUNS, OUTCOMES, FILES):
        (workdir / folder).mkdir(parents=True, exist_ok=True)
    made = _trained(case, workdir)
    write_json(_kept(case.name, workdir), made)
    return made


def outcome(name: str, workdir: Path) -> dict[str, Any] | None:
    """What `train` returned for a case; None where it is to be trained.

    Args:
        name: of the case.
        workdir: of the corpus.

    Returns:
        The outcome.
    """
    kept = _kept(name, workdir)
    return read_json(kept) if kept.exists() else None


def _kept(name: str, workdir: Path) -> Path:
    return workdir / OUTCOMES / f"{name}.json"


def _trained(case: Case, workdir: Path) -> dict[str, Any]:
    run, start = workdir / RUNS / case.name, time.monotonic()
    config = config_of(case)
    try:
        for name in case.files:
            if not (workdir / FILES / name).exists():
                files.write(name, workdir / FILES)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = experiment.run(config, run, (OWN, (workdir / FILES).resolve()))
            if status == experiment.INTERRUPTED:
                raise KeyboardInterrupt
            measured = _measured(run)
    except DivergedError as error:
        return {"status": "diverged", "seconds": time.monotonic() - start, "message": str(error)}
    except UserError as error:
        if "mnist" in str(error) and "prepare" in str(error):
            return {"status": "skipped", "reason": str(error), "seconds": time.monotonic() - start}
        raise
    except Exception as error:
        traceback.print_exc()
        raise RuntimeError(f"case {case.name} cannot be trained") from error
    return {"status": status, "seconds": time.monotonic() - start, **measured}


def _measured(run: Path) -> dict[str, Any]:
    """Measures of the parts with the last weights in evaluation mode, and of the test with the best."""
    last = finished_run.load(run)
    splits = {"train": last.data.train, "validation": last.data.validation, "test": last.data.test}
    found = {name: _measures(last, last.weights, split) for name, split in splits.items()}
    tested = next(dict(line.values) for line in records.read(run) if line.kind == "test")
    return {"last": found, "best": {"test": tested}, "constant": _constant(last)}


def _measures(run: finished_run.FinishedRun, weights: Any, split: Split) -> dict[str, float]:
    @jax.jit
    def measure(weights: Any, features: Any, targets: Any) -> Any:
        outputs, _ = run.network.apply(weights.params, weights.model_state, features)
        return run.loss(outputs, targets)

    measures = {name: np.asarray(v, np.float64) for name, v in measure(weights, split.features, split.targets).items()}
    found = {name: float(values.mean()) for name, values in measures.items()}
    if run.data.classes and "accuracy" in measures:
        present = np.unique(split.targets)
        found["balanced_accuracy"] = float(np.mean([measures["accuracy"][split.targets == c].mean() for c in present]))
    return found


def _constant(run: finished_run.FinishedRun) -> float | None:
    """The training loss of the same outputs for every example, the best that there are; None where it has none."""
    targets = jnp.asarray(run.data.train.targets)
    outputs = jax.eval_shape(
        lambda w, x: run.network.apply(w.params, w.model_state, x)[0], run.weights, run.data.train.features
    )

    def loss(row: Any) -> Any:
        return run.loss(jnp.broadcast_to(row, outputs.shape), targets)["loss"].mean()

    @jax.jit
    def descend(row: Any) -> Any:
        return jax.lax.fori_loop(0, 2000, lambda _, row: row - 0.5 * jax.grad(loss)(row), row)

    value = float(loss(descend(jnp.zeros(outputs.shape[1:]))))
    return value if np.isfinite(value) else None
