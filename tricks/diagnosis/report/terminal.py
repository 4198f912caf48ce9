"""The short form of a report for a terminal."""

import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tricks.diagnosis.report import commands, words
from tricks.diagnosis.report.reading import cleaned, part, split

_COLUMNS = 80
_EVIDENCE = 4
_FINDINGS = 5
_PRESCRIPTIONS = 3


def terminal(report: Mapping[str, Any]) -> str:
    """The verdict with its evidence, the next findings, and what to do.

    Args:
        report: what report.json holds; any part of it may be missing or None.

    Returns:
        Lines of at most 80 columns, without any control character.

    >>> print(terminal({"run": {"name": "digits"}, "findings": [{"name": "saddle", "confidence": 0.8}]}))
    digits: The training stands at a saddle
    saddle (likely, 80 %)
    """
    read = cleaned(report)
    return "\n".join(line for block in _blocks(read) for line in block).strip("\n")


def _blocks(report: Mapping[str, Any]) -> Iterator[list[str]]:
    findings = report.get("findings", [])
    verdict, others = split(findings)
    title = words.title(verdict.get("name", "")) if verdict else words.NO_FINDING
    yield _wrapped(f"{part(report, 'run').get('name', 'run')}: {title}")
    if verdict:
        yield _wrapped(f"{words.spaced(verdict.get('name', ''))} ({words.confidence(verdict.get('confidence'))})")
        yield [line for sentence in verdict.get("evidence", [])[:_EVIDENCE] for line in _item(sentence)]
        if verdict.get("lecture"):
            yield _wrapped(f"The lectures: {verdict['lecture']}")
    if others:
        yield ["", "Other findings"]
        for finding in others[: _FINDINGS - 1]:
            name, sure = words.title(finding.get("name", "")), words.confidence(finding.get("confidence"))
            evidence = "".join(f": {sentence}" for sentence in finding.get("evidence", [])[:1])
            yield _item(f"{name} ({sure}){evidence}")
    todo = [one for one in commands.prescriptions(report) if not one["withdrawn"]][:_PRESCRIPTIONS]
    if todo:
        yield ["", "What to do next"]
        for one in todo:
            tried = one["tried"] or {}
            what = "Tried" if tried.get("kept") is not None else "Could not be tried"
            helped = f" {what}: {tried.get('sentence', 'it helped')}." if tried else ""
            yield _item(one["sentence"] + helped.replace("..", "."))
            if one["command"]:
                yield _shell(one["command"])
    if report.get("not_judged"):
        yield ["", "Not judged"]
        yield [line for sentence in report["not_judged"] for line in _item(sentence)]


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    lines = [first]
    for piece in (piece for word in text.split() for piece in _pieces(word, _COLUMNS - len(others))):
        gap = "" if lines[-1] in (first, others) else " "
        if gap and _width(f"{lines[-1]} {piece}") > _COLUMNS:
            lines.append(others)
            gap = ""
        lines[-1] += gap + piece
    return lines


def _item(text: str) -> list[str]:
    return _wrapped(text, "- ", "  ")


def _shell(command: str) -> list[str]:
    r"""A command over several lines, which a shell joins again, between the words and within one that is too long.

    >>> print("\n".join(_shell(f"python train.py --config=digits --config.data.name={'x' * 50} --config.a={'y' * 75}")))
      python train.py --config=digits \
      --config.data.name=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx \
      --config.a=yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\
    yyyyyyyyyy
    """
    try:
        parts = shlex.split(command)
    except ValueError:
        return _wrapped(command, "  ", "  ")
    lines = [" "]
    for word in parts:
        # Quotes are closed before a line ends: within them a backslash joins no lines.
        *full, last = map(shlex.quote, _pieces(word, _COLUMNS - 4, shlex.quote))
        if lines[-1] != " " and (full or _width(lines[-1]) + _width(last) + 3 > _COLUMNS):
            lines[-1] += " \\"
            lines.append(" ")
        lines[-1] += " "
        for piece in full:
            lines[-1] += f"{piece}\\"
            lines.append("")
        lines[-1] += last
    return lines


def _pieces(word: str, room: int, spelled: Callable[[str], str] = str) -> list[str]:
    """A word in pieces that each have so many columns at most, as they are spelled."""
    pieces = [""]
    for c in word:
        if _width(spelled(pieces[-1] + c)) > room:
            pieces.append("")
        pieces[-1] += c
    return pieces


def _width(text: str) -> int:
    """Columns of a text: two of a wide character, none of one that is put over another."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
