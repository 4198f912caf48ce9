"""The numbers of a table as a mapped array in the user's cache, so that a Parquet file is decoded once for all runs."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tricks import paths
from tricks.cli.screen import say
from tricks.data import cache_files, parquet_files, row_groups

_FORM = 1  # Of what is kept; another one makes other names.
_UNUSED = 60 * 24 * 3600.0


def check(file: parquet_files.Groups, names: Sequence[str]) -> np.ndarray | None:
    """Refuses columns that cannot be features, in one pass through the file that keeps their values for later runs.

    A file is known by its path, inode, size and times of change. Copies of what it was before, and those that were not
    used for 60 days, are removed. Of several processes on a machine one makes the copy, and the others wait.

    Args:
        file: opened.
        names: of the columns.

    Returns:
        The values (n, columns), mapped, in the type of the columns where that is one of small integers, else in
        float32; None where they cannot be kept.

    Raises:
        UserError: a column is none that `row_groups.checked` allows, or the file has changed since it was opened.
    """
    shape, dtype = (sum(file.sizes), len(names)), row_groups.stored_type(file, names)
    size = shape[0] * shape[1] * dtype.itemsize
    blocks = row_groups.checked(file, names, dtype)
    try:
        path = _path(file, names)
        found = _mapped(path, shape, dtype)
        if found is None:
            with cache_files.alone(path):
                # Whoever was here before may have made it.
                found = _mapped(path, shape, dtype)
                if found is None:
                    _tidy(path)
                    cache_files.require_room(path.parent, size)
                    _write(path, shape, dtype, blocks)
                    say(f"kept its numbers for later runs, {_mib(size)} in {path.parent}")
                    found = _mapped(path, shape, dtype)
    except OSError as error:
        say(f"its numbers, {_mib(size)}, cannot be kept and are decoded each epoch: {cache_files.reason(error)}")
        # What could not be kept is checked all the same.
        for _ in blocks:
            pass
        return None
    file.require_unchanged()
    return found


def _path(file: parquet_files.Groups, names: Sequence[str]) -> Path:
    folder = paths.user_cache("tables")
    status = file.status
    state = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    parts = str(file.path.resolve()), state, (_FORM, *names)
    return folder / ("-".join(hashlib.sha256(repr(part).encode()).hexdigest()[:16] for part in parts) + ".npy")


def _mapped(path: Path, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return found if (found.shape, found.dtype) == (shape, dtype) else None


def _tidy(path: Path) -> None:
    """Removes copies of the file as it was before, and what nobody uses."""
    now = time.time()
    file, state, _ = path.stem.split("-")
    for other in path.parent.iterdir():
        with contextlib.suppress(OSError):
            age = now - other.stat().st_mtime
            outdated = other.name.startswith(f"{file}-") and not other.name.startswith(f"{file}-{state}-")
            # Whoever could be at work on a part of this copy waits.
            if outdated or age > _UNUSED or other.match(f"{path.name}.*.part"):
                other.unlink()


def _write(path: Path, shape: tuple[int, int], dtype: np.dtype, blocks: Iterator[np.ndarray]) -> None:
    with cache_files.written(path) as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.data)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
