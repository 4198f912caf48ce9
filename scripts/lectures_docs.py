#!/usr/bin/env python3
"""Writes what came of the lectures' claims into docs/lectures.md, with pictures: `lectures_docs.py WORKDIR`.

WORKDIR holds the results of `reproduce.py all`. Of the page, the text between its first and its last sections that are
not made here is left alone.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tricks.cli.json_files import read_json
from tricks.lectures.common import page
from tricks.lectures.common.experiment import CHAPTERS, NAMES, load

_PAGE, _PICTURES = ROOT / "docs" / "lectures.md", ROOT / "docs" / "images" / "lectures"
_WIDTH, _COLOURS = 1100, 128
_VERDICTS = ("supported", "refuted", "inconclusive")


def main(workdir: Path) -> None:
    """Replaces the two sections that are made of results, and the pictures."""
    missing = [name for name in NAMES if not (workdir / name / "result.json").is_file()]
    if missing:
        raise SystemExit(f"error: {workdir} lacks results of {', '.join(missing)}; run `reproduce.py all` there first")
    found = {name: read_json(workdir / name / "result.json") for name in NAMES}
    quick = [name for name, result in found.items() if result["quick"]]
    if quick:
        raise SystemExit(f"error: {', '.join(quick)} in {workdir} are quick runs; the docs tell of full ones")
    text = _replaced(_PAGE.read_text(encoding="utf-8"), "What came out", _table(found))
    text = _replaced(text, "Each claim", "\n\n".join(_section(result) for result in found.values()))
    _PAGE.write_text(text, encoding="utf-8")
    _PICTURES.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        with Image.open(workdir / name / f"{name}.png") as picture:
            height = round(picture.height * _WIDTH / picture.width)
            small = picture.convert("RGB").resize((_WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(_COLOURS, dither=Image.Dither.NONE).save(_PICTURES / f"{name}.png", optimize=True)


def _replaced(text: str, title: str, body: str) -> str:
    """The same with another body below a heading of the second level."""
    heading = f"\n## {title}\n"
    if heading not in text:
        raise SystemExit(f"error: {_PAGE} has no section {title!r}")
    before, _, after = text.partition(heading)
    rest = re.search(r"\n## ", after)
    return f"{before}{heading}\n{body}\n{after[rest.start() :] if rest else ''}"


def _table(found: dict[str, dict[str, Any]]) -> str:
    counts = Counter(result["verdict"] for result in found.values())
    minutes = sum(result["seconds"] for result in found.values()) / 60
    images = "MNIST" if any("mnist" in str(result["data"]) for result in found.values()) else "the digits"
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS)
    parts = [
        f"{len(found)} claims on {images} and made-up problems, {minutes:.0f} minutes of runs on two cores: {told}."
    ]
    for title, names in CHAPTERS.items():
        rows = [_row(name, found[name]) for name in names]
        head = "| claim | verdict | measured (interval of 95 %) | |\n| --- | --- | --- | --- |"
        parts.append(f"### {title}\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _row(name: str, result: dict[str, Any]) -> str:
    second = result["second"]
    again = f"; by a second rule {second['verdict']}" if second else ""
    return (
        f"| [{result['claim']}](#{name}) | {result['verdict']} | {result['effect']}: {page.number(result)}{again} "
        f"| [figure](images/lectures/{name}.png) |"
    )


def _section(result: dict[str, Any]) -> str:
    name, second = result["name"], result["second"]
    claim = load(name).claim
    told = [
        part for part in (f"on {result['data']}", f"{len(result['seeds'])} seeds") if result["seeds"] or "on" in part
    ]
    parts = [
        f"### {name}",
        f"**{claim.title}: {result['verdict']}.** {result['sentence']}",
        f"![{claim.title}](images/lectures/{name}.png)",
        f"The rule: {claim.rule}",
    ]
    if second:
        parts.append(
            f"A second rule, written after that result: {claim.second_rule} **{second['verdict'].capitalize()}**: "
            f"{second['effect']}: {page.number(second)}."
        )
    sources = f"{claim.lecture} {claim.source}".strip()
    length = ", ".join([f"{result['seconds']:.0f} s", *(told if result["data"] else [])])
    parts.append(f"Run it: `tricks reproduce {name}` ({length}). {sources}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("error: give the directory with the results of `reproduce.py all`")
    main(Path(sys.argv[1]))
