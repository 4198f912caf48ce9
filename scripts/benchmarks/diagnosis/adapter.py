"""The one place that knows how a diagnosis is asked for."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

DIAGNOSE, JUDGE = "tricks.diagnosis:diagnose_run", "tricks.diagnosis.judging:of_measurements"
ABLATIONS = ("none", "curvature", "comparisons")


def report(run: Path, whole: dict[str, Any] | None, ablation: str, *, diagnose: str, judge: str) -> dict[str, Any]:
    """The report of a run, with everything or without one kind of measurement.

    Args:
        run: its directory.
        whole: the report with everything, where it is there already.
        ablation: one of `ABLATIONS`: what is left out.
        diagnose: `module:function` of `function(run, fast=False) -> report`.
        judge: `module:function` of `function(measurements) -> {"findings": …, …}`, decisions from measurements alone.

    Returns:
        With `findings`, ranked, each with `name` and `confidence`.
    """
    if whole is None:
        whole = _function(diagnose)(run, fast=False)
    assert whole is not None
    if ablation == "none":
        return whole
    rest = {topic: value for topic, value in whole["measurements"].items() if topic != ablation} | {
        "run": whole.get("run")
    }
    return {**whole, **_function(judge)(rest), "measurements": {}}


def tried(run: Path, report: dict[str, Any]) -> dict[str, Any]:
    """What came of the first prescriptions of a report.

    Args:
        run: its directory.
        report: of the run.

    Returns:
        `findings`, with what was tried.
    """
    from tricks.diagnosis import run_diagnosis, subject

    findings = report["findings"]
    run_diagnosis.try_out(subject.read(run), findings)
    return {"findings": findings}


def _function(named: str) -> Callable[..., Any]:
    module, _, function = named.partition(":")
    return getattr(importlib.import_module(module), function)
