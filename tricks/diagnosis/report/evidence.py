"""The measurements of a report as tables."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tricks.diagnosis.report.words import number, spaced

_ROWS = 60
_NUMBERS = 12


class Table(NamedTuple):
    """A table of text."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    note: str
    """What was left out."""


def tables(measurements: Mapping[str, Any]) -> dict[str, list[Table]]:
    """Tables for each topic of the measurements, whatever they hold.

    Args:
        measurements: of a report, as `reading.cleaned` gives it.

    Returns:
        By topic; those that hold nothing are left out.

    >>> tables({"gaps": {"train": {"loss": 0.25}, "test": {"loss": 1.5}}})["gaps"][0].rows
    [['train', '0.25'], ['test', '1.5']]
    """
    found = {topic: list(_of("", content)) for topic, content in measurements.items()}
    return {topic: of_topic for topic, of_topic in found.items() if of_topic}


def _of(title: str, content: Any) -> list[Table]:
    if _is_rows(content):
        return _of_rows(title, content) if content else []
    if not isinstance(content, Mapping):
        return [Table(title, ["value"], [[_cell("", content)]], "")]
    plain = {name: value for name, value in content.items() if not _is_nested(value)}
    records = {name: value for name, value in content.items() if _is_record(value)}
    below = {name: value for name, value in content.items() if name not in plain and name not in records}
    # What is long throughout, such as the losses of a surface, is there to be drawn.
    records = {name: value for name, value in records.items() if not all(map(_is_long, value.values()))}
    found = []
    if plain:
        rows = [[spaced(name), _cell(name, value)] for name, value in plain.items()]
        found.append(Table(title, ["measured", "value"], rows, ""))
    if records:
        found += _of_rows(title, [{"": spaced(name), **value} for name, value in records.items()])
    for name, value in below.items():
        found += _of(f"{title}, {spaced(name)}".removeprefix(", "), value)
    return found


def _of_rows(title: str, rows: list[dict[str, Any]], spelled: Callable[[str], str] = spaced) -> list[Table]:
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not _is_long(value)))
    every = -(-len(rows) // _ROWS)
    # The last row matters most.
    chosen = rows[::-1][::every][::-1]
    note = f"every {every}th of {len(rows):,} rows" if every > 1 else ""
    apart = [name for name in names if _is_measure(rows, name)]
    names = [name for name in names if name not in apart]
    cells = [[_cell(name, row.get(name, "")) for name in names] for row in chosen]
    found = [Table(title, [spelled(name) for name in names], cells, note)] if names else []
    for name in apart:
        # Told apart by what comes first in a row, such as its step.
        below = [{**dict([next(iter(row.items()))]), **row.get(name, {})} for row in chosen]
        # Names of layers and the like stay what they are.
        found += _of_rows(f"{title}, {spaced(name)}".removeprefix(", "), below, str)
    return found


def _cell(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(key, part)}" for key, part in value.items())
    if _is_long(value):
        return f"{' by '.join(map(str, _shape(value)))} values"
    if name.endswith("interval") and isinstance(value, list) and len(value) == 2:
        return " to ".join(map(number, value))
    return number(value)


def _is_measure(rows: list[dict[str, Any]], name: str) -> bool:
    """Whether a column holds the same numbers by name in all rows, such as norms of layers."""
    values = [row[name] for row in rows if name in row]
    if not all(isinstance(value, Mapping) for value in values) or next(iter(rows[0])) == name:
        return False
    # Later some may be missing: those that are not finite.
    return len(values[0]) > 1 and all(value.keys() <= values[0].keys() for value in values)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (_is_rows(value) and bool(value))


def _is_record(value: Any) -> bool:
    """Whether it is one row of a table."""
    return isinstance(value, Mapping) and not any(map(_is_nested, value.values()))


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and (
        len(value) > _NUMBERS or any(isinstance(part, list) and len(part) > 3 for part in value)
    )


def _shape(value: Any) -> list[int]:
    return [len(value), *(_shape(value[0]) if value else [])] if isinstance(value, list) else []
