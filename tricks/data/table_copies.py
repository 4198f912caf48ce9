"""The numbers of a table as a mapped array in the user's cache, so that a Parquet file is decoded once for all runs."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tricks import paths
from tricks.data import parquet_files, row_groups

_FORM = 1  # Of what is kept; another one makes other names.
_DAY = 24 * 3600.0
_UNUSED, _LEFT_OVER = 60 * _DAY, _DAY
_FREE = 2  # Times the copy: a run writes more than that.


def check(file: parquet_files.Groups, names: Sequence[str]) -> np.ndarray | None:
    """Refuses columns that cannot be features, in one pass through the file that keeps their values for later runs.

    A file is known by its path, inode, size and time of change. Copies of what it was before, and those that were not
    used for 60 days, are removed. Of several processes on a machine one makes the copy, and the others wait.

    Args:
        file: opened.
        names: of the columns.

    Returns:
        The values (n, columns), mapped, in the type of the columns where that is one of small integers, else in
        float32; None where they cannot be kept.

    Raises:
        UserError: a column is none that `row_groups.checked` allows.
    """
    shape, dtype = (sum(file.sizes), len(names)), row_groups.stored_type(file, names)
    size = shape[0] * shape[1] * dtype.itemsize
    blocks = row_groups.checked(file, names, dtype)
    try:
        path = _path(file.path, names)
        found = _mapped(path, shape, dtype)
        if found is None:
            with _alone(path):
                # Whoever was here before may have made it.
                found = _mapped(path, shape, dtype)
                if found is None:
                    _tidy(path)
                    if size * _FREE > shutil.disk_usage(path.parent).free:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    _write(path, shape, dtype, blocks)
                    if _path(file.path, names) != path:
                        path.unlink()
                        raise OSError(errno.ESTALE, "it was changed meanwhile")
                    print(f"kept the numbers of {file.path} for later runs: {_mib(size)} in {path.parent}")
                    found = _mapped(path, shape, dtype)
    except OSError as error:
        print(f"the numbers of {file.path}, {_mib(size)}, cannot be kept ({error.strerror}): decoding them each epoch")
        # What could not be kept is checked all the same.
        for _ in blocks:
            pass
        return None
    return found


def _path(file: Path, names: Sequence[str]) -> Path:
    folder = paths.user_cache("tables")
    status = file.stat()
    parts = str(file.resolve()), (status.st_ino, status.st_size, status.st_mtime_ns), (_FORM, *names)
    return folder / ("-".join(hashlib.sha256(repr(part).encode()).hexdigest()[:16] for part in parts) + ".npy")


def _mapped(path: Path, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    return found if (found.shape, found.dtype) == (shape, dtype) else None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with open(path.with_suffix(".lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tidy(path: Path) -> None:
    """Removes copies of the file as it was before, and what nobody uses."""
    now = time.time()
    file, state, _ = path.stem.split("-")
    for other in path.parent.iterdir():
        with contextlib.suppress(OSError):
            age = now - other.stat().st_mtime
            outdated = other.name.startswith(f"{file}-") and not other.name.startswith(f"{file}-{state}-")
            if outdated or age > (_LEFT_OVER if other.suffix == ".part" else _UNUSED):
                other.unlink()


def _write(path: Path, shape: tuple[int, int], dtype: np.dtype, blocks: Iterator[np.ndarray]) -> None:
    """Writes an array whole or not at all."""
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(block.data)
            file.flush()
            # A machine that stops must not leave a name with nothing behind it.
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
