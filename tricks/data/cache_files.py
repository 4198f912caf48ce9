"""Files of a cache: made by one process, whole or not at all, and only where there is room."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_DAY = 24 * 3600.0
_FREE = 2  # Times the file: a run writes more than that.


def require_room(folder: Path, size: int) -> None:
    """Refuses to fill a disk.

    Args:
        folder: on it.
        size: of the file that is to be written, in bytes.

    Raises:
        OSError: less than twice the size is free.
    """
    if shutil.disk_usage(folder).free < _FREE * size:
        raise OSError(errno.ENOSPC, f"{_FREE * size / 2**20:,.1f} MiB must be free in {folder}")


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps other processes of this machine from making a file at the same time; they wait.

    Who has waited looks first whether the file is there now.

    Args:
        path: of the file.

    Raises:
        OSError: its folder cannot be written to, or has no locks.
    """
    name = path.with_name(f"{path.name}.lock")
    with open(name, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                name.unlink()


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that comes to be when the block ends without an exception.

    Of a process that is killed in the middle nothing is left, where the file system has files without a name (Linux,
    but for network drives); elsewhere a part, which goes when the file is written after a day.

    Args:
        path: of the file, which is replaced.

    Yields:
        What to write to.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    for other in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if other == part or other.stat().st_mtime < time.time() - _DAY:
                other.unlink()
    descriptor = _nameless(path.parent)
    try:
        with open(part, "wb") if descriptor is None else open(descriptor, "wb") as file:
            yield file
            file.flush()
            # A machine that stops must not leave a name with nothing behind it.
            os.fsync(file.fileno())
            if descriptor is not None:
                # With a folder Python calls linkat, which alone follows that link; an absolute path is not in it.
                os.link(f"/proc/self/fd/{descriptor}", part, src_dir_fd=descriptor)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _nameless(folder: Path) -> int | None:
    """A file that no folder lists, where the file system has such."""
    with contextlib.suppress(OSError, AttributeError):
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    return None


def reason(error: OSError) -> str:
    """Why a file could not be had, in a few words.

    >>> reason(FileNotFoundError(2, "No such file or directory", "/none")), reason(FileNotFoundError("no home"))
    ('No such file or directory: /none', 'no home')
    """
    return ": ".join(str(part) for part in (error.strerror or error, error.filename) if part)
