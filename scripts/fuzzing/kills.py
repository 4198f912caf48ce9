"""Kills a run at random moments, goes on with it each time, and compares it with one that was left alone."""

import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fuzzing import campaign, commands, directories

# Every kind of state matters: dropout, batch normalization, Adam, a schedule, the best weights, early stopping.
FLAGS = (
    "--config.model.hidden_sizes=16",
    "--config.model.dropout=0.3",
    "--config.train.epochs=60",
    "--config.train.chunk_steps=5",
    "--config.schedule.shape=cosine",
    "--config.schedule.warmup_steps=50",
    "--config.checkpoint.every_epochs=2",
    "--config.early_stopping.min_delta=0.001",
)
_LIMIT = 300.0
_MOST_IN_A_CHAIN = 12


def differences(kills: int, seed: int, folder: Path) -> list[str]:
    """Kills runs so often in all, each until it is done.

    Args:
        kills: how often.
        seed: of the moments.
        folder: to work in.

    Returns:
        A line for each run that does not end as the one that was left alone.
    """
    chance, environment = random.Random(f"{seed}/kills"), campaign.environment(folder)
    (folder / "home").mkdir(parents=True, exist_ok=True)
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    ended = _train(whole, environment, ())
    if ended.status != 0:
        return [f"the run that was left alone ends with {ended.status}: {ended.error}"]
    wanted, found, done, chain = outcome(whole), [], 0, 0
    while done < kills:
        workdir = folder / f"killed-{chain}"
        shutil.rmtree(workdir, ignore_errors=True)
        counted, said = _chain(workdir, environment, chance, min(kills - done, _MOST_IN_A_CHAIN), ended.seconds)
        differing = said or [name for name, value in outcome(workdir).items() if value != wanted[name]]
        if differing:
            found.append(f"{workdir}, killed {counted} times: {', '.join(differing)}")
        else:
            shutil.rmtree(workdir)
        done, chain = done + counted, chain + 1
    return found


def _chain(
    workdir: Path, environment: Mapping[str, str], chance: random.Random, most: int, seconds: float
) -> tuple[int, list[str]]:
    """Kills one run until it is done, and so often at most; how often, and what went wrong."""
    for killed in range(most + 1):
        signals = (signal.SIGKILL,) if killed < most else ()
        ended = _train(workdir, environment, signals, lambda: _moment(workdir, chance, seconds))
        if ended.status == 0:
            return killed, []
        if ended.status != -signal.SIGKILL:
            return killed, [f"status {ended.status}", ended.error]
    return most, ["it was left alone, and did not end"]


def _train(
    workdir: Path, environment: Mapping[str, str], signals: tuple[int, ...], wait: Any = lambda: None
) -> commands.Ended:
    script, config = str(directories.ROOT / "train.py"), f"--config={directories.CONFIG}"
    place = workdir.with_name(f"{workdir.name}-printed")
    place.mkdir(exist_ok=True)
    command = [sys.executable, script, config, f"--workdir={workdir}", *FLAGS]
    return commands.run(command, folder=place, environment=environment, limit=_LIMIT, signals=signals, wait=wait)


def _moment(workdir: Path, chance: random.Random, seconds: float) -> None:
    """Waits for a moment: any of a whole run, or some lines of metrics later, which falls on training and saving."""
    metrics, deadline = workdir / "metrics.jsonl", time.monotonic() + seconds
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0.0, seconds))
        return
    lines = chance.randrange(1, 150)
    size = metrics.stat().st_size if metrics.exists() else 0
    while time.monotonic() < deadline:
        if metrics.exists() and metrics.stat().st_size > size + 150 * lines:
            break
        time.sleep(0.002)
    time.sleep(chance.uniform(0.0, 0.05))


def outcome(workdir: Path) -> dict[str, Any]:
    """All of a run that must not depend on how often it was killed.

    Args:
        workdir: of a run that is done.

    Returns:
        By names: checksums of weights and state, records, results.
    """
    newest = max(path for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    progress = json.loads((newest / "progress" / "metadata").read_text())
    summary = json.loads((workdir / "summary.json").read_text())
    for part in ("best", "final"):
        del summary[part]["seconds"]
    return {
        **{name: progress[name] for name in ("step", "checksum", "weights", "scalars")},
        "metrics.jsonl": list(_records(workdir)),
        **{name: summary[name] for name in ("status", "config", "best", "final")},
    }


def _records(workdir: Path) -> Iterator[dict[str, Any]]:
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        yield {name: value for name, value in json.loads(line).items() if name != "examples_per_second"}
