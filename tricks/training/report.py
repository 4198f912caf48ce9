"""What a run says of itself: its heading, its closing table, its picture and its summary."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import tricks
from tricks.cli import job
from tricks.cli.json_files import write_json
from tricks.cli.screen import say
from tricks.data import Dataset
from tricks.data.stored import windows_of
from tricks.training import records, summary
from tricks.training.artist import Artist
from tricks.training.feed import Plan
from tricks.training.loop import Rules
from tricks.training.progress import result_table
from tricks.training.records import Record


class Clock:
    """Seconds of a run over all its sittings: at its last update, and at each validation."""

    def __init__(self, before: Mapping[str, float], best_step: int) -> None:
        self._seconds = before["seconds"]
        self._offset = before["seconds"] - time.monotonic()
        self._validations = {best_step: before["best_seconds"]}

    def note(self, line: Record) -> None:
        """Takes the time of a record."""
        if line.kind != "test":
            self._seconds = self._offset + time.monotonic()
        if line.kind == "validation":
            self._validations[line.step] = self._seconds

    def read(self, best_step: int) -> dict[str, float]:
        """`seconds` at the last record, and `best_seconds` at the validation of `best_step`."""
        return {"seconds": self._seconds, "best_seconds": self._validations.get(best_step, 0.0)}


def heading(data: Dataset, plan: Plan, parameters: int, *, compute: str, divided: str) -> None:
    """Prints what is trained, on what.

    Args:
        data: the examples.
        plan: of an epoch.
        parameters: scalars in the model.
        compute: the floating-point type of the arithmetic, said where it is not float32.
        divided: how the parameters are divided among the devices, in a line; empty where they are whole.
    """
    kind = f"{data.classes} classes" if data.classes else "regression"
    counts = " / ".join(f"{len(split.targets):,}" for split in (data.train, data.validation, data.test))
    say(f"{data.name}: {counts} examples (train / validation / test)")
    say(
        f"{_described(data.train.features)}, {kind}; {parameters:,} parameters; "
        f"{plan.steps_per_epoch} steps an epoch on {jax.device_count()} x {jax.devices()[0].device_kind}"
    )
    if compute != "float32":
        say(f"layers in {compute}; parameters, averages, losses and norms in float32")
    if divided:
        say(divided)
    windows = windows_of(data.train.features)
    if windows is not None:
        say(f"on disk: an epoch is shuffled in {windows.number:,} windows of {windows.blocks:,} blocks,")
        say(
            f"the variance of a batch's mean at most {windows.excess(plan.batch_size):.3g} times that of a full shuffle"
        )


def _described(features: Any) -> str:
    """The size of an example.

    >>> import numpy as np
    >>> _described(np.ones((9, 28, 28, 1))), _described({"words": np.ones((9, 12)), "age": np.ones(9)})
    ('28x28x1 features', '1 + 12 features')
    """
    sizes = ["x".join(map(str, a.shape[1:])) or "1" for a in jax.tree.leaves(features)]
    return f"{' + '.join(sizes)} features"


def ended(
    workdir: Path,
    artist: Artist,
    *,
    fields: Mapping[str, Any],
    status: str,
    parameters: int,
    rules: Rules,
    best_step: int,
    spent: Mapping[str, float],
) -> None:
    """Writes `summary.json`, orders `curves.png`, and prints the closing table.

    Args:
        workdir: the run directory.
        artist: draws.
        fields: the config, a value for each dotted field.
        status: how the run ended.
        parameters: scalars in the model.
        rules: of the loop.
        best_step: the step of the best validation.
        spent: as `Clock.read` gives it.
    """
    if not job.is_first():
        return
    lines = records.read(workdir)
    content = summary.make(
        fields=fields,
        status=status,
        parameters=parameters,
        best_step=best_step,
        records=lines,
        spent=spent,
        version=tricks.__version__,
    )
    write_json(workdir / "summary.json", content)
    artist.begin(workdir, **_caption(fields, rules, best_step))
    say(f"{status} after {spent['seconds']:.1f} s; at the best epoch:")
    say(result_table(summary.at_best(lines, best_step), records.measures(lines)))
    say(f"run directory: {workdir}")


def diverged(
    workdir: Path, artist: Artist, *, fields: Mapping[str, Any], error: Exception, last_checkpoint: str, rules: Rules
) -> str:
    """Writes the `summary.json` and orders the `curves.png` of a run that came to a value that is not finite.

    Args:
        workdir: the run directory.
        artist: draws.
        fields: the config, a value for each dotted field.
        error: what happened.
        last_checkpoint: that a person can fall back on, in words.
        rules: of the loop.

    Returns:
        What happened, and what to try.
    """
    advice = (
        f"try an optimizer.learning_rate below {fields['optimizer.learning_rate']:g}, or more schedule.warmup_steps "
        f"than {fields['schedule.warmup_steps']}"
    )
    if re.search(r"the loss is \S+ at step 1 ", str(error)):
        advice = "it is so before any update: the network, the loss, the targets or the initial weights give it"
    message = f"training diverged: {error}; {last_checkpoint}; {advice}"
    if job.is_first():
        write_json(workdir / "summary.json", {"status": "diverged", "message": message, "config": dict(fields)})
        artist.begin(workdir, **_caption(fields, rules, None))
    return message


def _caption(fields: Mapping[str, Any], rules: Rules, best_step: int | None) -> dict[str, Any]:
    title = f"{fields['data.name']}, {fields['optimizer.name']}, batch {fields['data.batch_size']}"
    return {"steps_per_epoch": rules.steps_per_epoch, "best_step": best_step, "title": title}
