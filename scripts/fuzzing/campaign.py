"""Runs cases one after another, each in a folder of its own, and tells what did not hold."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fuzzing import cases, commands, damages, directories, judgement, surroundings
from fuzzing.cases import Case
from fuzzing.commands import Ended

_LIMIT = 120.0
# Of the environment of whoever calls, nothing that would steer JAX or Python.
_KEPT = ("PATH", "LANG", "USER", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


class Result(NamedTuple):
    """What a case came to."""

    case: Case
    damage: tuple[str, ...]
    findings: tuple[str, ...]
    statuses: tuple[int | None, ...]
    """Of each command, the last one without a signal."""
    seconds: float


def environment(folder: Path) -> dict[str, str]:
    """What all commands have.

    Args:
        folder: where compiled programs are kept between cases.

    Returns:
        Variables.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(folder / "home"), "JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}


def run(seed: int, numbers: Iterable[int], folder: Path) -> Iterator[Result]:
    """Runs cases.

    Args:
        seed: of all of them.
        numbers: which.
        folder: for them; those of cases with findings stay there.

    Yields:
        What each came to.
    """
    base = environment(folder)
    (folder / "home").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        place = folder / f"case-{seed}-{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        result = run_case(cases.draw(seed, number, place), seed, place, folder / "runs", base)
        if not result.findings:
            shutil.rmtree(place)
        yield result


def run_case(case: Case, seed: int, folder: Path, runs: Path, base: Mapping[str, str], limit: float = _LIMIT) -> Result:
    """Runs a case.

    Args:
        case: which.
        seed: of all cases.
        folder: of this one, empty.
        runs: where runs to begin with are kept.
        base: variables of every command.
        limit: seconds for each command.

    Returns:
        What it came to.
    """
    start = time.monotonic()
    chance = cases.of(seed, -1 - case.number)
    damage = _furnish(case, folder, runs, seed, base)
    files = directories.contents(folder)
    mine = {path: files[path] for path in sorted(_of_person(case) & {*files}) if files[path] is not None}
    found: list[str] = []
    statuses: list[int | None] = []
    promise = None
    for signals in (*case.signals, ()):
        before = _before(case, folder, damage, mine, signals)
        ended = _call(case, folder, base, signals, chance.uniform(0.0, 4.0), limit)
        statuses.append(ended.status)
        wrong = judgement.of_command(before, ended, directories.contents(folder))
        if ">" not in case.redirection:
            wrong += judgement.of_promise(promise, ended)
        found += [f"{line} ({_told(ended)})" for line in wrong]
        promise = judgement.promised(ended)
        if ended.status in (2, 3):
            break
    return Result(case, damage, tuple(found), tuple(statuses), time.monotonic() - start)


def _before(
    case: Case, folder: Path, damage: tuple[str, ...], mine: judgement.Contents, signals: tuple[int, ...]
) -> judgement.Before:
    return judgement.Before(
        mine=mine,
        files=directories.contents(folder),
        words=_words(case, folder, damage),
        workdir="run" if case.workdir == str(folder / "run") and "--help" not in case.arguments else "",
        trains=case.script == "train.py",
        killed=signal.SIGKILL in signals,
        heard="2>" not in case.redirection,
        full=bool(case.room),
    )


def _furnish(case: Case, folder: Path, runs: Path, seed: int, base: Mapping[str, str]) -> tuple[str, ...]:
    workdir = folder / "run"
    surroundings.write_config_files(folder)
    (folder / "file").write_text("mine")
    damage: tuple[str, ...] = ()
    if case.run:
        directories.copy_run(directories.prepared(runs, case.run, base), workdir, case.unfinished)
        if case.damaged:
            damage = damages.harm(workdir, cases.of(seed, -1 - case.number))
    for name in case.mine:
        # A damage may have made a file of the folder.
        with contextlib.suppress(OSError):
            directories.put(workdir, (name,))
    return damage


def _of_person(case: Case) -> set[str]:
    configs = {f"configs/{name}" for name in surroundings.CONFIG_FILES}
    return {"file", *configs, *(f"run/{name}" for name in case.mine)}


def _words(case: Case, folder: Path, damage: tuple[str, ...]) -> tuple[str, ...]:
    # JAX calls its variables by the names of its flags.
    others = [*case.variables, *map(str.lower, case.variables), *(line.split(" ")[0].split("/")[0] for line in damage)]
    if case.run or case.mine or case.script != "train.py" or case.workdir != str(folder / "run"):
        others.append("--workdir")
    if "XLA_FLAGS" in case.variables:
        others.append("devices")
    if case.room:
        others.append("cannot be written")
    return judgement.words_of(case.arguments, others)


def _call(
    case: Case, folder: Path, base: Mapping[str, str], signals: tuple[int, ...], delay: float, limit: float
) -> Ended:
    variables = {name: value for name, value in {**base, **case.variables}.items() if value is not None}
    return commands.run(
        [sys.executable, str(directories.ROOT / case.script), f"--workdir={case.workdir}", *case.arguments],
        folder=folder,
        environment=variables,
        limit=limit,
        redirection=case.redirection,
        room=case.room,
        signals=signals,
        wait=lambda: time.sleep(delay),
    )


def _told(ended: Ended) -> str:
    said = (ended.error.strip() or ended.output.strip() or "nothing").splitlines()[-1]
    return f"status {ended.status}, {ended.seconds:.1f} s, last line: {said[:300]}"


def told(result: Result, seed: int) -> str:
    """What a case came to, in words.

    Args:
        result: of the case.
        seed: of all cases.

    Returns:
        Lines.
    """
    case = result.case
    lines = [f"case {case.number}: {', '.join(map(str, result.statuses))} in {result.seconds:.1f} s"]
    if result.findings:
        before = f"{'unfinished ' * case.unfinished}{case.run} run" if case.run else "no run"
        lines += [f"  FINDING {finding}" for finding in result.findings]
        lines.append(f"  before: {before}; {'; '.join(result.damage) or 'no damage'}; files of a person: {case.mine}")
        lines.append(f"  command, after signals {case.signals}: {cases.command(case)}")
        lines.append(f"  again: python scripts/fuzz.py --seed={seed} --only={case.number}")
    return "\n".join(lines)
