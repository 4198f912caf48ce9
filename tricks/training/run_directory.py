"""The folder of one run, and the config that it belongs to."""

import contextlib
import fcntl
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tricks import config
from tricks.cli.json_files import read_json, write_json
from tricks.errors import UserError

CONFIG = "config.json"
_LOCK = ".lock"


def open_directory(path: Path, fields: Mapping[str, Any]) -> bool:
    """Makes the folder of a run, or checks that it was made by the same config.

    Args:
        path: of the folder.
        fields: the config, a value for each dotted field.

    Returns:
        Whether the folder was there with this config, so that the run may be resumed.

    Raises:
        UserError: the folder cannot be written, holds something else, or was made by another config.
    """
    wanted, defaults = _as_json(fields), _as_json(config.flatten(config.Config()))
    config_file = path / CONFIG
    try:
        path.mkdir(parents=True, exist_ok=True)
        if config_file.exists():
            # Fields that came later were not there to be set.
            _check_same(path, defaults | read_config(path), wanted)
            _check_writable(path)
            return True
        if any(entry.name != f"{CONFIG}.tmp" for entry in path.iterdir()):
            raise UserError(f"--workdir {path} is not empty and holds no run; choose another")
        write_json(config_file, wanted)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"--workdir {path} cannot be used: {error}") from error
    return False


def read_config(path: Path) -> dict[str, Any]:
    """The config that the folder of a run was made by.

    Args:
        path: of the folder.

    Returns:
        A value for each dotted field that there was.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        stored = read_json(path / CONFIG)
    except FileNotFoundError as error:
        raise UserError(f"--workdir {path} holds no run ({CONFIG} is missing); train one first") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--workdir {path} cannot be used: its {CONFIG} is damaged ({error})") from error
    if not isinstance(stored, dict) or not stored:
        raise UserError(f"--workdir {path} cannot be used: its {CONFIG} is damaged")
    return stored


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps a second process out of the folder of a run; the lock goes with the process, however it ends.

    Args:
        path: of the folder.

    Raises:
        UserError: another process is at work there, or what is done within cannot be written.
    """
    with open(path / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"--workdir {path} is in use by another run; wait for it or choose another") from error
        try:
            yield
        except OSError as error:
            raise UserError(
                f"--workdir {path} cannot be written to any more ({error.strerror or error}); when it can, the same "
                "command goes on from the last checkpoint"
            ) from error


def _as_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return plain


def _check_same(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [
        f"{field} is {stored.get(field)!r} there, {wanted.get(field)!r} here"
        for field in sorted({*stored, *wanted})
        if stored.get(field) != wanted.get(field)
    ]
    if differing:
        raise UserError(
            f"--workdir {path} was made by another config ({'; '.join(differing)}); choose another or remove it"
        )


def _check_writable(path: Path) -> None:
    with tempfile.TemporaryFile(dir=path):
        pass
