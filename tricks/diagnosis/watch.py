"""A run that goes on, looked at after every epoch: the findings so far, as they change."""

import time
from pathlib import Path
from typing import Any

from tricks.cli.screen import say
from tricks.diagnosis import judging, measuring, run_diagnosis, subject
from tricks.diagnosis.report import files
from tricks.training import run_directory
from tricks.training.records import read

_SECONDS = 2.0


def follow(workdir: Path, *, seconds: float = _SECONDS) -> dict[str, Any]:
    """Prints a line whenever what the cheap measurements say has changed, and ends with the run.

    Args:
        workdir: the run directory.
        seconds: between two looks.

    Returns:
        The last report, which is written beside the run.

    Raises:
        UserError: it is no run directory.
    """
    seen, verdict = -1, ""
    while True:
        going = run_directory.in_use(workdir)
        epochs = [line.epoch for line in read(workdir) if line.kind == "validation"]
        if epochs and epochs[-1] != seen:
            seen = epochs[-1]
            measured, missing = measuring.measure(subject.read(workdir), fast=True)
            found = judging.of_measurements(measured, missing)["findings"]
            name = found[0]["name"] if found else ""
            if name != verdict or not epochs[:-1]:
                verdict = name
                say(f"epoch {seen}: {_told(found)}")
        if not going:
            break
        time.sleep(seconds)
    # With what was measured at greater length before, and with the command that begins from its config.
    report = run_diagnosis.diagnose_run(workdir, fast=True)
    found = report["findings"]
    if (found[0]["name"] if found else "") != verdict:
        say(f"in all: {_told(found)}")
    say(f"written: {workdir}/{files.REPORT}, {files.PAGE}")
    return report


def _told(found: list[dict[str, Any]]) -> str:
    if not found or found[0]["confidence"] < 0.5:
        return "not enough evidence so far"
    first = found[0]
    return f"{first['name'].replace('_', ' ')} ({first['confidence']:.2f}): {'; '.join(first['evidence'][:1])}"
