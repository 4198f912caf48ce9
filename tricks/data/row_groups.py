"""Numbers of a Parquet file, read by row groups as they are needed, or from a copy."""

import collections
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from tricks.data import columns, parquet_files
from tricks.errors import UserError

_KEPT = 2  # Groups, where they are read one after another.
_OTHERS = "with data.storage=disk allowed: numbers; make it numbers, or leave it out: data.ignore"


class RowGroups:
    """Columns of numbers as one matrix (n, columns): a mapped copy, or float32 with a few groups of rows in memory."""

    def __init__(self, file: parquet_files.Groups, names: Sequence[str], mapped: np.ndarray | None):
        """Reads nothing.

        Args:
            file: opened.
            names: of the columns.
            mapped: all of their values, where there is a copy of them.
        """
        self.mapped = mapped
        self._file, self._names = file, list(names)
        self.ends = np.cumsum(self._file.sizes)
        self.shape = (int(self.ends[-1]) if len(self.ends) else 0, len(names))
        self.dtype = np.dtype(np.float32)
        self._groups: collections.OrderedDict[int, Future[np.ndarray]] = collections.OrderedDict()
        self._kept = _KEPT
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows by their places, ascending, or a slice."""
        if self.mapped is not None:
            return self.mapped[rows]
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        read = np.empty((len(rows), self.shape[1]), np.float32)
        behind = np.searchsorted(rows, self.ends)
        for group in np.flatnonzero(np.diff(behind, prepend=0)).tolist():
            own = slice(behind[group - 1] if group else 0, behind[group])
            # No row is beyond its group; to say so spares a copy.
            np.take(self._group(group), rows[own] - self._start(group), axis=0, out=read[own], mode="clip")
        return read

    def apart(self) -> "RowGroups":
        """The same rows with groups of their own in memory."""
        return RowGroups(self._file, self._names, self.mapped)

    def keep(self, groups: int) -> None:
        """Says how many groups may be in memory, of which those used last are."""
        self._kept = groups

    def expect(self, rows: np.ndarray) -> None:
        """Reads the groups of some rows, which will be needed.

        Args:
            rows: places in the file.
        """
        if self.mapped is not None:
            return
        for group in np.unique(np.searchsorted(self.ends, rows, side="right")).tolist():
            self._group(group)

    def _start(self, group: int) -> int:
        return int(self.ends[group - 1]) if group else 0

    def _group(self, group: int) -> np.ndarray:
        with self._lock:
            found = self._groups.get(group)
            if mine := found is None:
                found = self._groups[group] = Future()
            self._groups.move_to_end(group)
            while len(self._groups) > self._kept:
                self._groups.popitem(last=False)
        if mine:
            # Whoever needs one that is there does not wait for it.
            try:
                found.set_result(self._read(group))
            except BaseException as error:
                found.set_exception(error)
                raise
        return found.result()

    def _read(self, group: int) -> np.ndarray:
        table = self._file.read(group, self._names)
        by_column = np.empty((len(self._names), table.num_rows), np.float32)
        # Asked for by its name a column is looked for among all of them.
        for j, column in enumerate(table.select(self._names).columns):
            by_column[j] = columns.complete_numbers(column)
        # Twice as fast as to write a column of the result at a time.
        return np.ascontiguousarray(by_column.T)


def stored_type(file: parquet_files.Groups, names: Sequence[str]) -> np.dtype:
    """The type that holds all values: that of the columns where it is one of small integers, else float32.

    Args:
        file: opened.
        names: of the columns.

    Returns:
        One that float32 can hold exactly, or float32.
    """
    kinds = set(file.types(names))
    common = columns.small_integer(kinds.pop()) if len(kinds) == 1 else None
    return np.dtype(np.float32) if common is None else common


def checked(file: parquet_files.Groups, names: Sequence[str], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The values of columns, group by group, refused where they cannot be features.

    Args:
        file: opened.
        names: of the columns.
        dtype: of the values.

    Yields:
        Rows (rows of the group, columns).

    Raises:
        UserError: one is no number, or misses a value, or holds one beyond float32, or is the same in all rows; or the
            file has changed since it was opened.
    """
    least, most = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    first = 0
    for group, rows in enumerate(file.sizes):
        if not rows:
            continue
        table = file.read(group, names)
        by_column = np.empty((len(names), rows), dtype)
        for j, (name, column) in enumerate(zip(names, table.select(names).columns, strict=True)):
            values = by_column[j] = _values(column, name, file.path, first)
            least[j], most[j] = min(least[j], values.min()), max(most[j], values.max())
        first += rows
        yield np.ascontiguousarray(by_column.T)
    for name, low, high in zip(names, least.tolist(), most.tolist(), strict=True):
        bad_range = columns.check_range(low, high)
        if bad_range:
            raise UserError(f"column {name!r} {bad_range}")
    file.require_unchanged()


def _values(column: Any, name: str, path: Path, first: int) -> np.ndarray:
    if columns.is_text(column) or not columns.is_number(column):
        raise UserError(f"column {name!r} is of type {column.type}; {_OTHERS}")
    column = columns.numbers(column)
    row = columns.first_null(column)
    if row is not None:
        raise UserError(
            f"column {name!r} has no value in {parquet_files.place(path, first + row)}; with data.storage=disk fill it "
            f"in, or leave the column out: data.ignore; missing are {parquet_files.MISSING}"
        )
    values: np.ndarray = column.to_numpy()
    if values.dtype.kind == "f":
        bad = ~(np.abs(values) <= columns.LARGEST)
        if bad.any():
            row = int(bad.argmax())
            place = parquet_files.place(path, first + row)
            raise UserError(f"column {name!r} is {values[row]:g} in {place}; allowed: finite numbers of float32")
    return values
