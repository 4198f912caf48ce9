"""What commands print."""

import contextlib
import io
import os
import sys
from typing import Any

_silent: list[bool] = []


def say(text: str) -> None:
    """Prints a line at once, unless this process is to be silent.

    Args:
        text: the line.
    """
    if not _silent:
        print(text, flush=True)


def silence() -> None:
    """Has this process say nothing: of several the first one speaks."""
    _silent.append(True)


def secure() -> None:
    """Makes standard output and error safe to write to, whatever they are.

    Where nobody reads any more (`train.py | head`), where they are closed, full, or of an encoding that lacks a
    character, a run goes on and only the text is lost.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file to be opened, a checkpoint perhaps, would be what libraries write their errors to.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _forgiving(sys.stdout)
    sys.stderr = _forgiving(sys.stderr)


def _forgiving(stream: Any) -> Any:
    if stream is None:
        return open(os.devnull, "w")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return _Forgiving(stream)


class _Forgiving:
    """A stream whose failures to write nobody hears of."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
