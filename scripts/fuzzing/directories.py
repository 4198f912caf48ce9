"""What stands in a run directory before a command: files of a person, and perhaps a run."""

import json
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


def prepare(folder: Path, environment: Mapping[str, str]) -> None:
    """Trains the runs that cases begin with.

    Args:
        folder: for them, one below it for each name of `RUNS`; what is there is taken as it is.
        environment: of the commands.
    """
    for name, flags in RUNS.items():
        if not (folder / name / "summary.json").exists():
            command = [sys.executable, str(ROOT / "train.py"), f"--config={CONFIG}", f"--workdir={folder / name}"]
            subprocess.run([*command, *flags], check=True, env=environment, stdout=subprocess.DEVNULL)


def copy_run(source: Path, workdir: Path, unfinished: bool) -> None:
    """Puts a run where a command will look for one.

    Args:
        source: as `prepare` made it.
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


def contents(folder: Path, *, names: tuple[str, ...] | None = None) -> dict[str, bytes | None]:
    """All files in a folder, to be compared with those of later.

    Args:
        folder: need not exist.
        names: of files in it; None for all.

    Returns:
        Bytes by path, None for what is no file.
    """
    paths = [folder / name for name in names] if names is not None else sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}
