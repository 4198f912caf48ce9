"""What must hold after a command, whatever it was given."""

import json
import re
import signal
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fuzzing.commands import TIMED_OUT, Ended

ALLOWED = (0, 2, 3, 130)
_REFUSED, _DIVERGED = 2, 3
_LONGEST = 1500
_JSON = ("config.json", "summary.json", "metrics.jsonl", "spectrum.json")
_OF_TRAINING = ("config.json", "summary.json", "metrics.jsonl")
_OF_READING = {"spectrum.json", "spectrum.png", "surface.png"}
_PROMISE = re.compile(r"the same command goes on from step (\d+)")

Contents = Mapping[str, bytes | None]


class Before(NamedTuple):
    """What is known of a command before it runs."""

    mine: Contents
    """Files of a person, by their paths in the folder of the case."""
    files: Contents
    """All files."""
    words: tuple[str, ...]
    """What is unusual here: an error names one of it."""
    workdir: str
    """Path of the run directory in the folder of the case; empty for one that is elsewhere, or none."""
    trains: bool
    """Whether the command writes a run; otherwise it only reads one."""
    killed: bool
    heard: bool
    """Whether standard error is kept."""
    full: bool
    """Whether the disk is, so that a command may be refused in the middle."""


def of_command(before: Before, ended: Ended, files: Contents) -> list[str]:
    """What did not hold.

    Args:
        before: what was there.
        ended: how the command ended.
        files: all files after it.

    Returns:
        A line each; none where all is well.
    """
    found = _of_status(before, ended) + _of_text(before, ended)
    found += [f"{path} of a person is {_how(content, files, path)}" for path, content in before.mine.items()]
    found += [
        f"{path}: {said}" for path, said in _wrong_json(files, cut_short=before.killed) if _is_new(path, before, files)
    ]
    return [line for line in found if not line.endswith(" as it was")] + _of_directory(before, ended, files)


def _of_status(before: Before, ended: Ended) -> list[str]:
    if ended.status is TIMED_OUT:
        return [f"it did not end within {ended.seconds:.0f} s"]
    if ended.status in ALLOWED or (before.killed and ended.status == -signal.SIGKILL):
        return []
    return [f"its status is {ended.status}"]


def _of_text(before: Before, ended: Ended) -> list[str]:
    lines = ended.error.strip().splitlines()
    if "Traceback" in ended.output + ended.error:
        return ["it shows a traceback"]
    if not before.heard or ended.status not in ALLOWED:
        return []
    if ended.status not in (_REFUSED, _DIVERGED):
        return [] if lines in ([], ["interrupted"]) else [f"it says on standard error: {lines[0][:200]}"]
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return [f"its error is no single line that begins with error: but {len(lines)} lines"]
    if len(lines[0]) > _LONGEST:
        return [f"its error is {len(lines[0])} characters long"]
    if ended.status == _REFUSED and not any(word in lines[0] for word in before.words):
        return ["its error names nothing of what is unusual here"]
    return []


def _of_directory(before: Before, ended: Ended, files: Contents) -> list[str]:
    workdir = before.workdir
    if not workdir or before.full:
        return []
    if ended.status == _REFUSED and workdir not in before.files and workdir in files:
        return ["it refused, and left a directory behind"]
    changed = {
        path.removeprefix(f"{workdir}/")
        for path in {*files, *before.files}
        if path.startswith(f"{workdir}/") and before.files.get(path) != files.get(path)
    }
    if ended.status == _REFUSED:
        return [f"it refused, and changed {name}" for name in _OF_TRAINING if name in changed]
    if ended.status != 0:
        return []
    if before.trains:
        return [f"it has ended well without {name}" for name in _OF_TRAINING if f"{workdir}/{name}" not in files]
    return [f"it only reads, and changed {path}" for path in sorted(changed - _OF_READING)]


def promised(ended: Ended) -> int | None:
    """The step from which the same command goes on, if it was said that it does."""
    said = _PROMISE.search(ended.output) if ended.status == 130 else None
    return int(said.group(1)) if said else None


def of_promise(step: int | None, ended: Ended) -> list[str]:
    """Whether a command goes on from where the one before said that it would.

    Args:
        step: as `promised` gave it.
        ended: how the command ended.

    Returns:
        As `of_command`.
    """
    kept = step is None or ended.status != 0 or f"at step {step} of" in ended.output
    return [] if kept else [f"step {step} was promised"]


def strict(text: bytes) -> str:
    """Why a text is no strict JSON; empty where it is.

    >>> strict(b'{"a": 1}'), strict(b'[NaN]')
    ('', 'it holds NaN')
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"it holds {name}")

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        return str(error)
    return ""


def _wrong_json(files: Contents, *, cut_short: bool) -> Iterable[tuple[str, str]]:
    for path, content in files.items():
        name = path.rsplit("/", 1)[-1]
        if name in _JSON and content is not None:
            lines = [content]
            if name.endswith(".jsonl"):
                lines = content.split(b"\n")
                if not lines[-1] or cut_short:
                    lines = lines[:-1]
            wrong = next((said for line in lines if (said := strict(line))), "")
            if wrong:
                yield path, wrong


def _is_new(path: str, before: Before, files: Contents) -> bool:
    """Whether it is the command that wrote it so."""
    return before.files.get(path) != files[path]


def _how(content: bytes | None, files: Contents, path: str) -> str:
    if path not in files:
        return "gone"
    return "as it was" if files[path] == content else "changed"


def words_of(arguments: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """What of a command an error may name.

    Args:
        arguments: of the command.
        others: paths and variables.

    Returns:
        Names of flags and fields, their values in quotes, and the others.

    >>> words_of(["--config.model.dropout=2", "stray"], ["HOME"])
    ('model.dropout', "'2'", 'stray', 'HOME')
    """
    words: list[str] = []
    for argument in arguments:
        name, is_given, value = argument.lstrip("-").removeprefix("no").partition("=")
        words += [name.removeprefix("config."), *([repr(value)] if is_given else [])]
    return tuple(word for word in (*words, *others) if word)
