"""A config as a file that `train.py` takes."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tricks import config as configuration
from tricks.config import OPTIONS, Config
from tricks.training.sources import Sources


def write(file: Path, purpose: str, config: Config, own: Sources) -> None:
    """Writes a config, with the files of a person's own by their full paths, since it may lie elsewhere.

    Args:
        file: to write.
        purpose: what the config is, for its first line.
        config: whose fields differ from the defaults where they are written.
        own: what of it is a person's own.
    """
    file.write_text(_text(purpose, configuration.flatten(config) | _absolute(own)))


def _absolute(own: Sources) -> dict[str, str]:
    files = {
        field: f"{function.main}:{function.name.rpartition(':')[2]}"
        for field, function in own.functions.items()
        if function.name.rpartition(":")[0].endswith(".py")
    }
    return files | ({} if own.data is None else {"data.name": str(own.data)})


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
    head = textwrap.fill("".join(c if c.isprintable() and c not in '"\\' else "_" for c in purpose), 110)
    body = "\n".join(["    config = Config()", *lines, "    return config"])
    return f'"""{head}"""\n\nfrom tricks.config import Config\n\n\ndef get_config() -> Config:\n{body}\n'
