"""What one case is: drawn from the seed and its number alone, so that it can be run again."""

import random
import shlex
import signal
from pathlib import Path
from typing import NamedTuple

from fuzzing import directories, fields, surroundings

_SIGNALS = ((signal.SIGINT,), (signal.SIGTERM,), (signal.SIGKILL,), (signal.SIGTERM, signal.SIGINT))


class Case(NamedTuple):
    """A directory, and a command on it."""

    number: int
    script: str
    arguments: tuple[str, ...]
    variables: dict[str, str | None]
    redirection: str
    room: int
    """KiB that a file may have, as if the disk were full; 0 for any."""
    run: str
    """Name in `directories.RUNS` of the run that is there before; empty for none."""
    unfinished: bool
    damaged: bool
    mine: tuple[str, ...]
    """Files of a person, in the run directory."""
    workdir: str
    """As it is typed."""
    hostile: bool
    """Whether something of the command is at the edge or nonsense, so that many are refused at once."""
    signals: tuple[tuple[int, ...], ...]
    """For each time that the command is called before it is left alone."""


def of(seed: int, number: int) -> random.Random:
    """What everything of a case is drawn by.

    Args:
        seed: of all cases.
        number: of this one.

    Returns:
        A generator.
    """
    return random.Random(f"{seed}/{number}")


def draw(seed: int, number: int, folder: Path) -> Case:
    """Draws a case.

    Args:
        seed: of all cases.
        number: of this one.
        folder: of this one.

    Returns:
        The case.
    """
    chance = of(seed, number)
    run = chance.choice(("", "", *directories.RUNS, *directories.RUNS))
    script = "scripts/spectrum.py" if chance.random() < (0.2 if run else 0.05) else "train.py"
    strange = chance.random() < 0.1
    workdir = surroundings.workdir(chance, folder) if strange else str(folder / "run")
    hostile = chance.random() < 0.5
    mine = (*directories.MINE, *directories.MINE_AMONG_CHECKPOINTS) if run else directories.MINE
    return Case(
        number=number,
        script=script,
        arguments=_arguments(chance, script, run, folder, hostile),
        variables=chance.choice(surroundings.VARIABLES) if chance.random() < 0.25 else {},
        redirection=chance.choice(surroundings.REDIRECTIONS),
        room=chance.choice((1, 4, 16)) if chance.random() < 0.04 else 0,
        run=run,
        unfinished=chance.random() < 0.6,
        damaged=bool(run) and chance.random() < 0.7,
        mine=tuple(chance.sample(mine, chance.randrange(1, len(mine)))) if run or chance.random() < 0.2 else (),
        workdir=workdir,
        hostile=strange or (hostile and not run and script == "train.py"),
        signals=tuple(chance.choice(_SIGNALS) for _ in range(chance.choice((0, 0, 0, 1, 2)))),
    )


def _arguments(chance: random.Random, script: str, run: str, folder: Path, hostile: bool) -> tuple[str, ...]:
    others = surroundings.flags(chance, script)
    if script != "train.py":
        return others
    config = surroundings.config(chance, folder) if chance.random() < 0.07 else str(directories.CONFIG)
    # A run that is there is gone on with as it was begun, mostly.
    given = directories.RUNS[run] if run else directories.SMALL
    drawn = fields.draw(chance, hostile) if not run or chance.random() < 0.15 else ()
    names = {flag.split("=")[0] for flag in drawn}
    kept = [flag for flag in given if flag.split("=")[0] not in names]
    return (f"--config={config}", *kept, *drawn, *others)


def command(case: Case) -> str:
    """What a person would type to do the same.

    Args:
        case: which.

    Returns:
        A line for a shell.
    """
    variables = [f"-u {name}" if value is None else f"{name}={value!r}" for name, value in case.variables.items()]
    words = ["python", case.script, f"--workdir={case.workdir}", *case.arguments]
    line = [*(["env"] if variables else []), *sorted(variables), shlex.join(words), case.redirection]
    return f"ulimit -f {case.room}; " * bool(case.room) + " ".join(line).strip()
