"""The page report.html."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tricks.diagnosis.report import commands, decision_tree, evidence, pictures, templates, words
from tricks.diagnosis.report.reading import cleaned, part, split

_SPLITS = ("train", "validation", "test")


def page(report: Mapping[str, Any]) -> str:
    """One HTML page that needs no other file and no network, from the content of report.json alone.

    Args:
        report: what report.json holds; any part of it may be missing or None.

    Returns:
        The page, the same for the same report. Nothing of the report is taken for markup.

    >>> page({"findings": [{"name": "saddle", "confidence": 0.8}]}).count("The training stands at a saddle")
    3
    """
    read = cleaned(report)
    verdict, others = split(read.get("findings", []))
    steps = commands.prescriptions(read)
    return _template().render(
        run=part(read, "run"),
        numbers=_numbers(read),
        verdict=verdict or None,
        others=others,
        way=decision_tree.way(read),
        pictures=pictures.draw(read),
        tables=evidence.tables(part(read, "measurements")),
        prescriptions=steps,
        first=next((one for one in steps if not one["withdrawn"]), None),
        not_judged=read.get("not_judged", []),
    )


@functools.cache
def _template() -> Any:
    environment = templates.environment(Path(__file__).parent)
    environment.filters |= {
        "title_of": words.title,
        "spaced": words.spaced,
        "confidence": words.confidence,
        "number": words.number,
    }
    environment.globals["no_finding"] = words.NO_FINDING
    return environment.get_template("page.html")


def _numbers(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the run came to, in the four numbers that are looked at first."""
    gaps, found = part(report, "measurements", "gaps"), []
    for part_name in _SPLITS:
        measures = gaps.get(part_name, {})
        if "loss" in measures:
            accuracy = f"accuracy {measures['accuracy']:.2%}" if "accuracy" in measures else ""
            name = "training" if part_name == "train" else part_name
            found.append({"name": f"{name} loss", "value": words.number(measures["loss"]), "beside": accuracy})
    return found
