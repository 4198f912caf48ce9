"""Draws the curves of a run in a process beside it: what that needs is imported while the run computes."""

import contextlib
import importlib
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tricks.cli import job
from tricks.training import curves, records

_NEEDED = "matplotlib.backends.backend_agg"
_ROOT = Path(__file__).parents[2]


class Artist:
    """Waits in a process of its own until there is something to draw.

    Where this process has imported what is needed, or the other one fails, the picture is drawn here.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._order: dict[str, Any] | None = None
        if _NEEDED not in sys.modules and job.is_first():
            command = [sys.executable, "-c", f"from {__name__} import draw_when_told; draw_when_told()"]
            none = subprocess.DEVNULL
            with contextlib.suppress(OSError):
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=none, stderr=none, cwd=_ROOT)

    def begin(self, directory: Path, **options: Any) -> None:
        """Orders the picture of a run.

        Args:
            directory: of the run.
            options: as for `curves.draw`.
        """
        self._order = {"directory": str(directory.absolute()), **options}
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError), self._process.stdin as channel:
                channel.write(json.dumps(self._order).encode())

    def finish(self) -> None:
        """Returns when the picture is there."""
        if self._order is not None and (self._process is None or self._process.wait() != 0):
            _draw(self._order)
        self._order = None

    def __enter__(self) -> "Artist":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def draw_when_told() -> None:
    """What the other process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's to hear.
    importlib.import_module(_NEEDED)
    # The first picture takes twice as long as the next: fonts are found, and glyphs made.
    curves.draw([], io.BytesIO(), steps_per_epoch=1, best_step=None, title="digits")
    order = sys.stdin.read()
    if order:
        _draw(json.loads(order))


def _draw(order: dict[str, Any]) -> None:
    directory, options = Path(order["directory"]), {name: order[name] for name in order if name != "directory"}
    curves.draw(records.read(directory), directory / curves.FILE, **options)
