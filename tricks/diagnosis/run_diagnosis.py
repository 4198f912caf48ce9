"""The diagnosis of a run directory: measured, judged, tried out, written."""

import shlex
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tricks import config as configuration
from tricks.cli import invocation
from tricks.cli.json_files import read_json, unfinished
from tricks.diagnosis import comparing, judging, measuring, subject, trials
from tricks.diagnosis.measurements import more_data
from tricks.diagnosis.report import files
from tricks.diagnosis.subject import Subject
from tricks.training import config_file

_TRIED = 3
_LEFT_OUT = "what needs comparison runs: they were left out (--fast)"
_NOTHING_TO_TRY = "--try: no finding that the evidence suffices for has a prescription that is in the config"


def diagnose_run(
    workdir: Path,
    *,
    fast: bool = False,
    attempt: bool = False,
    seconds: float | None = None,
    told: Callable[[str], None] = lambda what: None,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Diagnoses a run directory, and writes `report.json` and `report.html` there.

    What an earlier report of the same step holds is not measured again; remove it to have that done.

    Args:
        workdir: the run directory, also of a run that diverged, was interrupted, or goes on.
        fast: train no comparison runs.
        attempt: try the first prescriptions.
        seconds: that the comparison runs may take, about; None for what suits the run.
        told: of what is done next.
        note: of the steps of comparison runs that are done, and of all.

    Returns:
        The content of `report.json`.

    Raises:
        UserError: the directory cannot be read, or not be written to.
    """
    run = subject.read(workdir)
    report = made(run, fast=fast, attempt=attempt, seconds=seconds, told=told, note=note)
    write(report, run)
    return report


def made(
    run: Subject,
    *,
    fast: bool = False,
    attempt: bool = False,
    seconds: float | None = None,
    told: Callable[[str], None] = lambda what: None,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """The report of `diagnose_run`, not written.

    Args:
        run: as `subject.read` reads it.
        fast: as for `diagnose_run`, and likewise the others.
        attempt: likewise.
        seconds: likewise.
        told: likewise.
        note: likewise.

    Returns:
        The content of `report.json`.

    Raises:
        UserError: the directory cannot be written to.
    """
    with files.writing(run.workdir), tempfile.TemporaryFile(dir=run.workdir):
        pass  # Minutes of work would be lost.
    measured, missing = _kept(run) or measuring.measure(run, fast=fast, told=told)
    if fast and "comparisons" not in measured:
        missing = [*missing, _LEFT_OUT]
    elif "comparisons" not in measured:
        told("comparison runs")
        measured["comparisons"], late = comparing.compare(run, measured, seconds=seconds, note=note)
        measured["more_data"] = more_data.measure(measured["comparisons"], len(run.data.train.targets))
        missing = [*missing, *late]
    report = judging.of_measurements(measured, missing, configuration.flatten(run.config))
    if attempt:
        told("prescriptions")
        if not try_out(run, report["findings"], note):
            report["not_judged"].append(_NOTHING_TO_TRY)
    report["run"]["command"] = f"{invocation.command('train')} --config={shlex.quote(str(run.workdir / files.CONFIG))}"
    return report


def _kept(run: Subject) -> tuple[dict[str, Any], list[str]] | None:
    """What an earlier report measured of the same weights by the same version."""
    try:
        report = read_json(run.workdir / files.REPORT)
        before, measured, missing = report["run"], report["measurements"], report["not_judged"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    now = subject.fields_of(run)
    same = all(before.get(name) == now.get(name) for name in ("step", "status", "config", "tricks"))
    if report.get("version") != judging.VERSION or not same or not isinstance(measured, dict):
        return None
    kept = [one for one in judging.without_reasons(missing) if one not in (_LEFT_OUT, _NOTHING_TO_TRY)]
    return {**measured, "run": now}, kept


def write(report: Mapping[str, Any], run: Subject) -> None:
    """Writes `report.json`, `report.html`, and the config that the commands of the page begin from.

    Args:
        report: as `made` gives it.
        run: that it is of.

    Raises:
        UserError: its directory cannot be written to.
    """
    with files.writing(run.workdir):
        file = run.workdir / files.CONFIG
        config_file.write(unfinished(file), f"The config of {run.workdir.name}.", run.config, run.own)
        unfinished(file).replace(file)
    files.write(report, run.workdir)


def try_out(
    run: Subject, found: list[dict[str, Any]], note: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Trains with the first prescriptions that are in the config, those of the first finding first.

    Args:
        run: as `subject.read` reads it.
        found: the findings of its report: what came of a prescription is written into it, as `tried`; those that did
            not help are put last.
        note: of the steps that are done, and of all.

    Returns:
        How many were tried.
    """
    chosen = [p for one in found for p in one["prescription"] if p["overrides"]][:_TRIED]
    if not chosen:
        return 0
    for one, result in zip(chosen, trials.run(run, chosen, note=note), strict=True):
        one["tried"] = result
    for one in found:
        one["prescription"].sort(key=lambda p: bool(p["tried"]) and p["tried"]["kept"] is False)
    return len(chosen)
