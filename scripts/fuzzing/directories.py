"""What stands in a run directory before a command: files of a person, and perhaps a run."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "tests" / "plain_config.py"
# Each with a name of which a careless pattern could think that it is the run's.
MINE = (
    "events.csv",
    ".writable",
    "events.dir/events.out.tfevents.1",
    "events.out.tfevents.1.mine",
    "notes.txt",
    "notes.tmp",
    "metrics.jsonl.bak",
    "config.json~",
    "summary.json.old",
    "tmp/x.json",
)
# Only where a run is: a folder without one that holds them is refused.
MINE_AMONG_CHECKPOINTS = ("checkpoints/notes.txt", "checkpoints/best-so-far/weights", "checkpoints/unreadable/mine")
# Runs that are made once and copied, and the flags that made them.
SMALL = ("--config.model.hidden_sizes=4", "--config.train.epochs=3", "--config.train.chunk_steps=25")
RUNS = {
    "digits": SMALL,
    "diabetes": (
        *("--config.data.name=diabetes", "--config.loss.name=squared_error", "--config.model.hidden_sizes=()"),
        *("--config.train.epochs=3", "--config.train.chunk_steps=5"),
    ),
}


def prepared(folder: Path, name: str, environment: Mapping[str, str]) -> Path:
    """A run that cases begin with, trained where it is not there yet.

    Args:
        folder: of all of them.
        name: in `RUNS`.
        environment: of the command.

    Returns:
        Its directory.
    """
    workdir = folder / name
    if not (workdir / "summary.json").exists():
        command = [sys.executable, str(ROOT / "train.py"), f"--config={CONFIG}", f"--workdir={workdir}", *RUNS[name]]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return workdir


def copy_run(source: Path, workdir: Path, unfinished: bool) -> None:
    """Puts a run where a command will look for one.

    Args:
        source: as `prepared` made it.
        workdir: to be made.
        unfinished: as if it had been killed after the checkpoint before the last.
    """
    shutil.copytree(source, workdir)
    if unfinished:
        shutil.rmtree(max((workdir / "checkpoints").iterdir()))
        for name in ("summary.json", "curves.png"):
            (workdir / name).unlink()


def put(workdir: Path, names: tuple[str, ...]) -> None:
    """Makes files of a person.

    Args:
        workdir: where; made where it is missing.
        names: paths in it.
    """
    for name in names:
        path = workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(name))


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, to be compared with what is there later.

    Args:
        folder: need not exist.

    Returns:
        Bytes by path, None for what is no file.
    """
    paths = [
        Path(parent, name) for parent, *names in os.walk(folder, followlinks=True) for name in itertools.chain(*names)
    ]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in sorted(paths)}
