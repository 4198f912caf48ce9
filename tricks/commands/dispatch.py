"""`tricks COMMAND …`: finds the command, and starts it without losing time or a signal to its imports."""

import gc
import importlib
import os
import signal
import sys
from types import FrameType

from tricks.cli import invocation, screen, supervision

# The modules of this package, and what each does.
_COMMANDS = {
    "train": "trains a network",
    "spectrum": "says at what kind of point a run stands",
    "sweep": "trains many settings and seeds at once",
    "diagnose": "says why a training does not behave, and what to do",
    "reproduce": "puts the lectures' claims to the test",
    "prepare": "prepares a data set of TensorFlow Datasets, once",
}
# They may be run by several processes together.
_TOGETHER = ("train", "sweep")
_DONE, _MISTAKE, _INTERRUPTED = 0, 2, 130


def main(program: str = "tricks") -> None:
    """The console command: takes the name of a command off `sys.argv`, and runs it.

    Exit status: that of the command; 0 of --help; 2 of a name that is missing or unknown.

    Args:
        program: how a person calls it.
    """
    _end_quietly_at_signals()
    name, *rest = sys.argv[1:] or [""]
    if name in _COMMANDS:
        sys.argv = [f"{program} {name}", *rest]
        return run(name)
    screen.secure()
    asked = name in ("--help", "-h", "-help")
    if asked or not name:
        print(f"{program} COMMAND [--FLAG=VALUE ...]\n")
        print("\n".join(f"  {command:<10}{purpose}" for command, purpose in _COMMANDS.items()))
        print(f"\nIts flags: {program} COMMAND --help")
    if not asked:
        print(f"error: {_mistaken(name)}", file=sys.stderr)
    sys.exit(_DONE if asked else _MISTAKE)


def run(name: str) -> None:
    """Runs a command with the flags of `sys.argv`, and ends the process with its exit status.

    Args:
        name: of one of the modules here.
    """
    _end_quietly_at_signals()
    if name in _TOGETHER:
        supervision.of_several(sys.argv[1:])
    if name in ("diagnose", "reproduce"):
        # Its matrices are small: two threads spin, and wait for each other, longer than they compute.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What is imported stays: to look through it again and again for garbage takes a sixth of the time.
    gc.disable()
    try:
        command = importlib.import_module(f"tricks.commands.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "tricks":
            raise
        screen.secure()
        print(
            f"error: {invocation.command(name)} needs more packages ({error}): {invocation.installation('train')}",
            file=sys.stderr,
        )
        sys.exit(_MISTAKE)
    gc.freeze()
    gc.enable()
    command.run()


def _end_quietly_at_signals() -> None:
    """Imports take seconds, and neither they nor XLA's threads must be left in the middle by an exception."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_quietly)


def _end_quietly(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def _mistaken(name: str) -> str:
    commands = f"commands: {', '.join(_COMMANDS)}"
    if not name:
        return f"no command is given; {commands}"
    import difflib

    close = difflib.get_close_matches(name, _COMMANDS, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"unknown command {name!r}; {meant}{commands}"
