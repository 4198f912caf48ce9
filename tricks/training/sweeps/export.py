"""The config of a lane as a file that train.py takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tricks import config as configuration
from tricks.cli.json_files import read_json, write_json
from tricks.config import Config
from tricks.errors import UserError
from tricks.training import config_file, sources
from tricks.training.sweeps.settings import Setting, lanes, shown

_FILE = "settings.json"


def keep(workdir: Path, config: Config, settings: Sequence[Setting], seeds: int, folders: Sequence[Path]) -> None:
    """Keeps what `write` needs.

    Args:
        workdir: of the sweep.
        config: of the sweep.
        settings: that are tried.
        seeds: of each.
        folders: where relative files that the config names are looked for.
    """
    content = {
        "config": configuration.flatten(config),
        "settings": list(settings),
        "seeds": seeds,
        "folders": [str(folder.resolve()) for folder in folders],
    }
    write_json(workdir / _FILE, content)


def write(workdir: Path, number: int) -> Path:
    """Writes the config of a lane.

    Args:
        workdir: of the sweep.
        number: of the lane.

    Returns:
        The file, in the directory of the sweep.

    Raises:
        UserError: there is no such sweep or lane.
    """
    try:
        stored = read_json(workdir / _FILE)
        base = configuration.unflatten(stored["config"])
        folders = [Path(folder) for folder in stored["folders"]]
        settings = [_as_typed(setting) for setting in stored["settings"]]
        every = lanes(base, settings, stored["seeds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--workdir {workdir} holds no sweep ({error})") from error
    if not 0 <= number < len(every):
        raise UserError(f"--export is {number}; the sweep has lanes 0 to {len(every) - 1}")
    lane = every[number]
    chosen = ", ".join(f"{field}={shown(value)}" for field, value in (lane.chosen | {"seed": lane.config.seed}).items())
    file = workdir / f"lane-{number:05d}.py"
    purpose = f"Lane {number} of {workdir.name}: {chosen}."
    config_file.write(file, purpose, lane.config, sources.find(lane.config, folders))
    return file


def _as_typed(setting: Mapping[str, Any]) -> Setting:
    return {field: tuple(value) if isinstance(value, list) else value for field, value in setting.items()}
