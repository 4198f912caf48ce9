"""Runs a command as a shell would, in a folder and an environment of its own, and signals it at some moment."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TIMED_OUT = None
_MOST_OUTPUT = 2**20


class Ended(NamedTuple):
    """What a command left behind."""

    status: int | None
    """Negative for a signal; None where it did not end in time."""
    output: str
    error: str
    seconds: float


def run(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limit: float,
    redirection: str = "",
    room: int = 0,
    signals: Sequence[int] = (),
    wait: Callable[[], None] = lambda: None,
) -> Ended:
    """Runs a command.

    Args:
        command: its arguments.
        folder: where it runs.
        environment: all its variables.
        limit: seconds after which it is killed.
        redirection: as a shell reads it; what is not redirected is kept.
        room: KiB that a file may have; 0 for any.
        signals: to send, one after another.
        wait: returns when they are due; called once the command minds signals.

    Returns:
        How it ended.
    """
    printed, said = folder / "printed", folder / "said"
    start = time.monotonic()
    with open(printed, "wb") as output, open(said, "wb") as error:
        # A shell, because Popen cannot close a stream; `exec`, so that signals reach the command.
        line = f"ulimit -f {room or 'unlimited'}; exec {shlex.join(command)} {redirection}"
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=error
        )
        if signals:
            _until_ready(process, command[1])
            wait()
        for number in signals:
            if process.poll() is None:
                process.send_signal(number)
                time.sleep(0.01)
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = TIMED_OUT
    texts = [path.read_bytes()[:_MOST_OUTPUT].decode(errors="replace") for path in (printed, said)]
    return Ended(status, texts[0], texts[1], time.monotonic() - start)


def _until_ready(process: subprocess.Popen[bytes], script: str) -> None:
    """Before a script's first lines Python alone answers signals, which is nothing that the script could mend."""
    if not os.path.isdir("/proc/self"):
        time.sleep(1)
        return
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            # The shell catches signals too.
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
            if caught & (1 << (signal.SIGTERM - 1)) and words[1] == script.encode():
                return
        time.sleep(0.005)
