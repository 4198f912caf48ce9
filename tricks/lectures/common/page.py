"""One HTML page with every claim, its verdict and its picture."""

import base64
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tricks.cli.json_files import read_json, unfinished
from tricks.diagnosis.report import templates
from tricks.lectures.common.experiment import CHAPTERS
from tricks.lectures.common.results import RESULT, shown

FILE = "lectures.html"


def write(workdir: Path) -> None:
    """Writes the page of all results that a directory holds, whole or not at all.

    Args:
        workdir: with a folder for each experiment.
    """
    files = [workdir / name / RESULT for names in CHAPTERS.values() for name in names]
    written = page([read_json(file) for file in files if file.is_file()], workdir)
    unfinished(workdir / FILE).write_text(written, encoding="utf-8")
    unfinished(workdir / FILE).replace(workdir / FILE)


def page(results: Sequence[Mapping[str, Any]], workdir: Path) -> str:
    """The page, which needs no other file and no network.

    Args:
        results: as they stand in each result.json.
        workdir: where the folders with the pictures are.

    Returns:
        HTML.
    """
    found = {result["name"]: result for result in results}
    chapters = [
        (title, [_entry(found[name], workdir) for name in names if name in found]) for title, names in CHAPTERS.items()
    ]
    first = results[0] if results else {}
    return str(
        _template().render(
            chapters=[(title, entries) for title, entries in chapters if entries],
            count=len(found),
            verdicts=Counter(result["verdict"] for result in results),
            quick=any(result["quick"] for result in results),
            seconds=sum(result["seconds"] for result in results),
            versions=first.get("versions", {}),
        )
    )


def _entry(result: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    name = result["name"]
    picture = base64.b64encode((workdir / name / f"{name}.png").read_bytes()).decode()
    second = result.get("second")
    told = {**second, "number": number(second)} if second else None
    return {**result, "picture": f"data:image/png;base64,{picture}", "number": number(result), "second": told}


def number(result: Mapping[str, Any]) -> str:
    """What was measured, with its interval.

    Args:
        result: content of a result.json.

    Returns:
        Such as `2 (1.9 to 2.1)`.

    >>> number({"measured": 2.0, "interval": [1.9, 2.1]}), number({"measured": 2.0, "interval": [2.0, 2.0]})
    ('2 (1.9 to 2.1)', '2')
    """
    value, ends = result["measured"], result["interval"]
    if value is None:
        return "unknown"
    if None in ends:
        return f"{shown(value)} (interval unknown: too few seeds)"
    if math.isclose(ends[0], ends[1], rel_tol=1e-9):
        return shown(value)
    return f"{shown(value)} ({shown(ends[0])} to {shown(ends[1])})"


@functools.cache
def _template() -> Any:
    return templates.environment(Path(__file__).parent).get_template("page.html")
