"""The dict of a report made safe to read: what is missing is absent, and texts hold nothing but text."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def cleaned(value: Any) -> Any:
    """The same without what a page cannot hold.

    Keys without a value go, so that what is missing and what is None read alike; numbers that are not finite are None;
    control characters and halves of surrogate pairs, which are in no valid page and may command a terminal, are
    replaced.

    Args:
        value: a report, or a part of it.

    Returns:
        A new one.

    >>> cleaned({"run": {"name": "a\\x1b[2Jb", "step": None}, "losses": [1.0, float("nan")]})
    {'run': {'name': 'a�[2Jb'}, 'losses': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {cleaned(str(name)): cleaned(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [cleaned(part) for part in value]
    if isinstance(value, str):
        return value if value.isprintable() else "".join(map(_character, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def part(report: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """What lies at a path of names; empty where there is none.

    Args:
        report: as `cleaned` gives it.
        names: one for each level.

    Returns:
        A dict.

    >>> part({"measurements": {"task": {"classes": 10}}}, "measurements", "task")
    {'classes': 10}
    >>> part({}, "measurements", "task")
    {}
    """
    found: Any = report
    for name in names:
        found = found.get(name, {})
    return found


def split(findings: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The verdict, and the other findings.

    Args:
        findings: of a report, the strongest first.

    Returns:
        The first, and those after it; {} and all of them where the first is more likely wrong than right.

    >>> split([{"name": "saddle", "confidence": 0.2}])
    ({}, [{'name': 'saddle', 'confidence': 0.2}])
    """
    if findings and findings[0].get("confidence", 1.0) >= 0.5:
        return findings[0], findings[1:]
    return {}, findings


def column(rows: list[dict[str, Any]], name: str) -> list[float]:
    """One value of each row, NaN where there is none.

    Args:
        rows: such as epochs.
        name: of the value.

    Returns:
        As many numbers as rows.

    >>> column([{"loss": 2.5}, {}], "loss")
    [2.5, nan]
    """
    return [row.get(name, math.nan) for row in rows]


def array(rows: list[Any]) -> np.ndarray:
    """Numbers, or rows of them, NaN where there is none; empty where the rows are not of one length.

    >>> array([[1, None], [2, 3]]).tolist(), array([[1], [2, 3]]).tolist()
    ([[1.0, nan], [2.0, 3.0]], [])
    """
    lengths = {len(row) if isinstance(row, list) else None for row in rows}
    return np.array(rows if len(lengths) == 1 else [], float)


def _character(c: str) -> str:
    if c.isspace():
        return " "
    return c if c.isprintable() else "\N{REPLACEMENT CHARACTER}"
