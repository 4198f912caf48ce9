"""The folder of one run, and the config that it belongs to."""

import contextlib
import fcntl
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tricks import config
from tricks.cli.json_files import read_json, unfinished, write_json
from tricks.errors import UserError

CONFIG = "config.json"
SWEEP = "sweep.json"
_LOCK = ".lock"
_LONGEST = 100
_OF_DEVICES = ("mesh.data", "mesh.model")
"""Fields that change no result: a run may go on with others."""
_KINDS = {CONFIG: "run", SWEEP: "sweep"}


@contextlib.contextmanager
def opened(path: Path, fields: Mapping[str, Any], file: str = CONFIG) -> Iterator[bool]:
    """Makes the folder of a run, or checks that it was made by the same config, and keeps a second process out of it.

    The lock goes with the process, however it ends.

    Args:
        path: of the folder.
        fields: the config, a value for each dotted field.
        file: that it is kept in: of a sweep another one than of a run.

    Yields:
        Whether the folder was there with this config, so that the run may be resumed.

    Raises:
        UserError: the folder cannot be written, or not any more; it holds something else, was made by another config,
            or another process is at work there.
    """
    wanted = _as_json(fields)
    with _named(f"--workdir {path} cannot be used"):
        # What is refused is left as it is, without a lock in it.
        _is_there(path, wanted, file)
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / _LOCK, "a")  # noqa: SIM115
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--workdir {path} is in use by another run; wait for it or choose another") from error
        with _named(f"--workdir {path} cannot be used"):
            # It may have come since.
            resuming = _is_there(path, wanted, file)
            if not resuming:
                write_json(path / file, wanted)
        with _named(f"--workdir {path} cannot be written to any more; the same command goes on when it can"):
            yield resuming


def in_use(path: Path) -> bool:
    """Whether another process is at work in the folder of a run.

    Args:
        path: of the folder.
    """
    try:
        with open(path / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        which = f": {error.filename}" if error.filename else ""
        raise UserError(f"{what} ({error.strerror or error}{which})") from error


def _is_there(path: Path, wanted: Mapping[str, Any], file: str) -> bool:
    if (path / file).exists():
        # Fields that came later were not there to be set.
        _check_same(path, _as_json(config.flatten(config.Config())) | read_config(path, file), wanted)
        with tempfile.TemporaryFile(dir=path):
            return True
    if path.exists() and any(entry.name not in (unfinished(path / file).name, _LOCK) for entry in path.iterdir()):
        raise UserError(
            f"--workdir {path} is not empty and holds no {Path(file).stem.replace('config', 'run')}; choose another"
        )
    return False


def read_config(path: Path, file: str = CONFIG) -> dict[str, Any]:
    """The config that the folder of a run was made by.

    Args:
        path: of the folder.
        file: that it is kept in.

    Returns:
        A value for each dotted field that there was.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        stored = read_json(path / file)
    except FileNotFoundError as error:
        raise UserError(
            f"--workdir {path} holds no {Path(file).stem.replace('config', 'run')} ({file} is missing); train one first"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"--workdir {path} cannot be used: its {file} is damaged ({error})") from error
    if not isinstance(stored, dict) or not stored:
        raise UserError(f"--workdir {path} cannot be used: its {file} is damaged")
    return stored


def _as_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return plain


def _check_same(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [
        f"{field} is {_shown(stored.get(field))} there, {_shown(wanted.get(field))} here"
        for field in sorted({*stored, *wanted})
        if stored.get(field) != wanted.get(field) and field not in _OF_DEVICES
    ]
    if differing:
        raise UserError(
            f"--workdir {path} was made by another config ({'; '.join(differing)}); choose another or remove it"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
