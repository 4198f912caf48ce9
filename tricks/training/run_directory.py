"""The folder of one run, and the config that it belongs to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tricks.errors import UserError

CONFIG = "config.json"


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
    wanted = json.loads(json.dumps(fields))
    config_file = path / CONFIG
    try:
        path.mkdir(parents=True, exist_ok=True)
        if config_file.exists():
            _check_same(path, json.loads(config_file.read_text()), wanted)
            _check_writable(path)
            return True
        if any(entry.name != f"{CONFIG}.tmp" for entry in path.iterdir()):
            raise UserError(f"--workdir {path} is not empty and holds no run; choose another")
        write_json(config_file, wanted)
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"--workdir {path} cannot be used: {error}") from error
    return False


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


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
    probe = path / ".writable"
    probe.touch()
    probe.unlink()
