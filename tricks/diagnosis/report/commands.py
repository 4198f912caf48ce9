"""What to run next: prescriptions as commands."""

import shlex
from collections.abc import Mapping
from typing import Any

from tricks.training.sweeps.settings import shown


def command(trained_by: str, overrides: Mapping[str, Any]) -> str:
    """The command of a run with other values for some fields of its config.

    A run with other values gets a directory of its own: `--workdir` is left out.

    Args:
        trained_by: the command of the run.
        overrides: a value for each dotted path of the config.

    Returns:
        One line for a shell.

    >>> command("python train.py --config=digits --workdir=runs/a", {"optimizer.learning_rate": 0.001})
    'python train.py --config=digits --config.optimizer.learning_rate=0.001'
    >>> command("tricks train --config.model.hidden_sizes=64,64", {"model.hidden_sizes": [128, 128]})
    'tricks train --config.model.hidden_sizes=128,128'
    """
    flags = [f"--config.{field}={shown(value)}" for field, value in overrides.items()]
    try:
        words = shlex.split(trained_by)
    except ValueError:
        return f"{trained_by} {shlex.join(flags)}"
    # A field given twice is refused where it is a tuple.
    return shlex.join([*_without({"workdir", *(f"config.{field}" for field in overrides)}, words), *flags])


def prescriptions(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All prescriptions of a report, each with its finding, and with its command where one can be given.

    Args:
        report: as `reading.cleaned` gives it.

    Returns:
        In the order of the findings, as `{"finding", "sentence", "command", "tried", "withdrawn"}`.

    >>> finding = {"name": "rate_too_large", "prescription": [{"sentence": "Smaller.", "overrides": {"a.b": 1}}]}
    >>> prescriptions({"run": {"command": "tricks train"}, "findings": [finding]})[0]["command"]
    'tricks train --config.a.b=1'
    """
    trained_by = report.get("run", {}).get("command")
    return [
        {
            "finding": finding.get("name", ""),
            "sentence": one.get("sentence", ""),
            "command": command(trained_by, one["overrides"]) if trained_by and one.get("overrides") else None,
            "tried": one.get("tried"),
            "withdrawn": one.get("tried", {}).get("kept") is False,
        }
        for finding in report.get("findings", [])
        for one in finding.get("prescription", [])
    ]


def _without(names: set[str], words: list[str]) -> list[str]:
    kept, awaiting_value = [], False
    for word in words:
        name, equals, _ = word.lstrip("-").partition("=")
        if word.startswith("-"):
            awaiting_value = name in names and not equals
            if name not in names:
                kept.append(word)
        elif not awaiting_value:
            kept.append(word)
        else:
            awaiting_value = False
    return kept
