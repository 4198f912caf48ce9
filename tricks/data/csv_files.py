"""CSV files as Arrow tables, with the line of what cannot be read."""

import csv
import itertools
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tricks.data.columns import is_number_text
from tricks.errors import UserError

MISSING = "empty cells and the texts NA, NaN, null, N/A and the like"
# Rows are cut out of blocks; one that is longer than a block needs larger ones.
_BLOCK_SIZES = (2**20, 2**24, 2**28)
_OF_SHORT_BLOCKS = ("straddling", "Empty CSV file or block")
_BYTES_AT_ONCE = 2**18  # Stays in the cache.
# A quoted value begins and ends at a comma or a line's end; group 1 is the quote that closes it.
_QUOTED = re.compile(rb'"(?<![^,\r\n]")(?:[^"]++|"")*+("(?=[,\r\n]|\Z))?')


def names(path: Path) -> list[str]:
    """The names of the columns, from the first line.

    Args:
        path: of the file.

    Returns:
        The names.

    Raises:
        UserError: there are none, they are not text in UTF-8, or a quote is not closed.
    """
    try:
        header: list[str] = next((row for row in _rows(path, "strict") if row), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(_undecodable(path) or f"{_of(path)}, whose first line cannot be read: {error}") from error
    if any("\n" in name for name in header) and (wrong := _misquoted(path)):
        raise UserError(wrong)
    if not any(map(str.strip, header)):
        raise UserError(f"{_of(path)}, which is empty; its first line must name the columns")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise UserError(f"{_of(path)}, whose columns are not separated by commas: its first line is {header[0]!r}")
    if any(map(_is_fraction, header)) or (all(map(is_number_text, header)) and not _counts_up(header)):
        raise UserError(
            f"{_of(path)}, whose first line does not name the columns: it holds the number {_number(header)}"
        )
    if "" in header:
        raise UserError(
            f"{_of(path)}, whose column {header.index('') + 1} has no name; "
            f"name it, or leave it out of the file (pandas: to_csv(index=False))"
        )
    return header


def read(path: Path, columns: Sequence[str]) -> Any:
    """Some columns, with the types that their values have.

    Args:
        path: of the file.
        columns: which to read.

    Returns:
        A `pyarrow.Table`; empty values and the usual words for missing ones are null.

    Raises:
        UserError: a row has not as many values as there are columns, a quote is not closed, or the text is not UTF-8.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv

    convert = arrow_csv.ConvertOptions(include_columns=columns, strings_can_be_null=True)
    for size in _BLOCK_SIZES:
        try:
            table = arrow_csv.read_csv(
                path,
                read_options=arrow_csv.ReadOptions(block_size=size),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
                convert_options=convert,
            )
            break
        except (pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
            too_short = any(sign in str(error) for sign in _OF_SHORT_BLOCKS)
            if too_short and size != _BLOCK_SIZES[-1] and size < path.stat().st_size:
                continue
            if "Empty CSV" in str(error):
                raise UserError(f"{_of(path)}, which has no rows") from error
            what = (
                _undecodable(path) or _misquoted(path) or _ragged(path) or f"{_of(path)}: {str(error).splitlines()[0]}"
            )
            raise UserError(what) from error
    if any(pyarrow.types.is_binary(field.type) for field in table.schema):
        raise UserError(_undecodable(path) or f"{_of(path)}, which is not UTF-8")
    if wrong := _misquoted(path):
        raise UserError(wrong)
    return table


def place(path: Path, row: int) -> str:
    """Where a row stands.

    Args:
        path: of the file.
        row: from 0, without the header and empty lines.

    Returns:
        Its number from 1, and the line in which it ends.
    """
    rows = _rows(path, "replace", with_lines=True)
    line = next((line for values, line in itertools.islice(((v, n) for v, n in rows if v), row + 1, None)), None)
    return f"row {row + 1}" + (f" (line {line})" if line else "")


def _rows(path: Path, errors: str, with_lines: bool = False) -> Iterator[Any]:
    csv.field_size_limit(2**31 - 1)
    with open(path, encoding="utf-8-sig", errors=errors, newline="") as file:
        reader = csv.reader(file)
        for row in reader:
            yield (row, reader.line_num) if with_lines else row


def _of(path: Path) -> str:
    return f"data.name is {str(path)!r}"


def _undecodable(path: Path) -> str | None:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return f"{_of(path)}, whose line {number} is not UTF-8 (byte 0x{byte:02x}); save it as UTF-8"
    return None


def _ragged(path: Path) -> str | None:
    rows = ((row, line) for row, line in _rows(path, "replace", with_lines=True) if row)
    header, _ = next(rows, ([], 0))
    for number, (row, line) in enumerate(rows, 1):
        if len(row) != len(header):
            return (
                f"{_of(path)}, whose row {number} (line {line}) has {len(row)} values where there are "
                f"{len(header)} columns; mend that line"
            )
    return None


def _misquoted(path: Path) -> str | None:
    """Says where a quote is not closed, which makes one value of rows: by all columns, also those not read."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = 3 if content[:3] == b"\xef\xbb\xbf" else 0
        if _quotes_pair(content, start):
            return None
        # Quotes within a value without quotes around it are text; only the slower search tells.
        text = content[start:]
        for found in _QUOTED.finditer(text):
            if found[1] is None:
                line = text[: found.start()].count(b"\n") + 1
                value = found[0][:20].split(b"\n")[0].decode("utf-8", "replace").rstrip("\r")
                return (
                    f"{_of(path)}, whose line {line} has a quote that is not closed before a comma or the line's end: "
                    f"{value!r}; close it, and write a quote within a quoted value twice"
                )
    return None


def _quotes_pair(content: mmap.mmap, start: int) -> bool:
    """Whether every other quote begins a value, and those between end one; two in a row stand for one in a value."""
    if content.find(b'"', start) < 0:
        return True
    edges = np.zeros(256, bool)
    edges[[*b',\r\n"']] = True
    count = 0
    for at in range(start, len(content), _BYTES_AT_ONCE):
        # With the byte before and the one after; outside the file are line ends.
        before = content[at - 1 : at] if at > start else b"\n"
        block = np.frombuffer(before + content[at : at + _BYTES_AT_ONCE + 1] + b"\n", np.uint8)
        quotes = 1 + np.flatnonzero(block[1 : _BYTES_AT_ONCE + 1] == ord('"'))
        opening, closing = quotes[count % 2 :: 2], quotes[1 - count % 2 :: 2]
        if not (edges[block[opening - 1]].all() and edges[block[closing + 1]].all()):
            return False
        count += len(quotes)
    return count % 2 == 0


def _is_fraction(text: str) -> bool:
    return is_number_text(text) and "." in text


def _counts_up(header: Sequence[str]) -> bool:
    """Such as pandas names columns."""
    numbers = [float(name) for name in header]
    return numbers in ([*range(len(numbers))], [*range(1, len(numbers) + 1)])


def _number(header: Sequence[str]) -> str:
    return next(filter(_is_fraction, header), header[0])
