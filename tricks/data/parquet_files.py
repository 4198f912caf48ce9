"""Parquet files as Arrow tables."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tricks.errors import UserError

MISSING = "null and NaN"
_IDENTITY = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


def names(path: Path) -> list[str]:
    """The names of the columns.

    Args:
        path: of the file.

    Returns:
        The names.

    Raises:
        UserError: it is no Parquet file that can be read.
    """
    return list(_opened(path).schema_arrow.names)


def read(path: Path, columns: Sequence[str]) -> Any:
    """Some columns.

    Args:
        path: of the file.
        columns: which to read.

    Returns:
        A `pyarrow.Table`.

    Raises:
        UserError: it is damaged.
    """
    import pyarrow

    try:
        return _opened(path).read(columns=list(columns), use_pandas_metadata=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(_unreadable(path, error)) from error


class Groups:
    """A file that is read by its row groups, by one thread at a time."""

    def __init__(self, path: Path):
        """Opens it.

        Args:
            path: of the file.

        Raises:
            UserError: it is no Parquet file that can be read.
        """
        self.path, self._lock = path, threading.Lock()
        self.status = self._now()
        self._file = _opened(path)
        # The file that was opened must be the one that was looked at.
        self.require_unchanged()

    def require_unchanged(self) -> None:
        """Refuses a file that is not what it was when it was opened.

        Raises:
            UserError: it was written to, replaced or removed.
        """
        now, then = self._now(), self.status
        if any(getattr(now, field) != getattr(then, field) for field in _IDENTITY):
            raise UserError(f"data.name is {str(self.path)!r}, which was changed while it was read; run it again")

    def _now(self) -> os.stat_result:
        try:
            return self.path.stat()
        except OSError as error:
            raise UserError(f"data.name is {str(self.path)!r}, which cannot be read: {error.strerror}") from error

    @property
    def sizes(self) -> list[int]:
        """Rows of each group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def types(self, names: Sequence[str]) -> list[Any]:
        """Of each column its `pyarrow.DataType`.

        Args:
            names: of the columns.

        Returns:
            The types.
        """
        return [self._file.schema_arrow.field(name).type for name in names]

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """Some columns of a group.

        Args:
            group: its place.
            columns: which to read.

        Returns:
            A `pyarrow.Table`.

        Raises:
            UserError: it is damaged.
        """
        import pyarrow

        try:
            with self._lock:
                return self._file.read_row_group(group, columns=list(columns), use_threads=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(_unreadable(self.path, error)) from error


def place(path: Path, row: int) -> str:
    """Where a row stands, for messages.

    >>> place(Path("a.parquet"), 0)
    'row 1'
    """
    return f"row {row + 1}"


def _opened(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise UserError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: BaseException) -> str:
    return f"data.name is {str(path)!r}, which cannot be read as Parquet: {str(error).strip().splitlines()[0]}"
