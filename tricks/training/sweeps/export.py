"""The config of a lane as a file that train.py takes."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tricks import config as configuration
from tricks.cli.json_files import read_json, write_json
from tricks.config import OPTIONS, Config
from tricks.errors import UserError
from tricks.training import sources
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
    fields = configuration.flatten(lane.config) | _absolute(lane.config, folders)
    chosen = ", ".join(f"{field}={shown(value)}" for field, value in (lane.chosen | {"seed": lane.config.seed}).items())
    file = workdir / f"lane-{number:05d}.py"
    file.write_text(_text(f"Lane {number} of {workdir.name}: {chosen}.", fields))
    return file


def _as_typed(setting: Mapping[str, Any]) -> Setting:
    return {field: tuple(value) if isinstance(value, list) else value for field, value in setting.items()}


def _absolute(config: Config, folders: Sequence[Path]) -> dict[str, str]:
    """Files of a person's own by their full paths: the config that is written lies elsewhere."""
    found = sources.find(config, folders)
    files = {
        field: f"{own.main}:{own.name.rpartition(':')[2]}"
        for field, own in found.functions.items()
        if own.name.rpartition(":")[0].endswith(".py")
    }
    return files | ({} if found.data is None else {"data.name": str(found.data)})


def _text(purpose: str, fields: Mapping[str, Any]) -> str:
    defaults = configuration.flatten(Config())
    lines, options = [], dict[str, dict[str, Any]]()
    for field, value in fields.items():
        if field.startswith(OPTIONS):
            owner, _, name = field.partition(".options.")
            options.setdefault(owner, {})[name] = value
        elif value != defaults[field]:
            lines.append(f"    config.{field} = {value!r}")
    lines += [f"    config.{owner}.options = {given!r}" for owner, given in options.items()]
    # The name of a folder may be anything.
    head = textwrap.fill("".join(c if c.isprintable() and c not in '"\\\\' else "_" for c in purpose), 110)
    body = "\n".join(["    config = Config()", *lines, "    return config"])
    return f'"""{head}"""\n\nfrom tricks.config import Config\n\n\ndef get_config() -> Config:\n{body}\n'
