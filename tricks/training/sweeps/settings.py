"""The settings of a sweep, and its lanes: one training for each setting and seed."""

import copy
import csv
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tricks import config as configuration
from tricks import streams
from tricks.config import OPTIONS, Config, Option
from tricks.errors import UserError
from tricks.training.sweeps import ranges
from tricks.training.sweeps.ranges import Range

Setting = dict[str, Any]
"""The swept fields, each with its value."""

_OWN_FLAGS = {"seed": "give --seeds=N for several seeds"}
_TOGETHER = "a sweep trains many networks in one program"
_REFUSED = {
    "escape.": f"{_TOGETHER}, which leaves no saddles: train the lane that you want with it, by --export",
    "curvature.": f"{_TOGETHER}, which looks at no curvature: train the lane that you want with it, by --export",
    "diagnosis.": f"{_TOGETHER}, which looks at no layers: train the lane that you want with it, by --export",
    "mesh.": "a sweep divides its lanes among the devices, and no lane",
    "checkpoint.": "a sweep saves by itself",
    "early_stopping.metric": "lanes are compared by it",
    "early_stopping.mode": "lanes are compared by it",
    "data.placement": "a sweep keeps its examples on the device",
    "data.storage": "a sweep keeps its examples on the device",
    "data.shuffle_window": "a sweep keeps its examples on the device",
    "data.directory": "it is where data lies, and changes no run",
    "train.chunk_steps": "it changes no result",
}


class Lane(NamedTuple):
    """One training of a sweep."""

    number: int
    """From 0, in the order of the settings, with the seeds of each one after another."""
    setting: int
    """Number of its setting."""
    chosen: Setting
    config: Config


def kinds(config: Config) -> dict[str, Any]:
    """The type of every field that a config has.

    Args:
        config: any; of options of one's own functions those that it holds are known.

    Returns:
        A type for each dotted path.
    """
    return {path: kind for path, _, kind in configuration.leaves(config)}


def check_fields(fields: Sequence[str], config: Config) -> None:
    """Refuses fields that there are not, or that a sweep cannot vary.

    Args:
        fields: dotted paths.
        config: the experiment.

    Raises:
        UserError: names the field.
    """
    known = kinds(config)
    for field in fields:
        if field in _OWN_FLAGS:
            raise UserError(f"--sweep.{field} cannot be given: {_OWN_FLAGS[field]}")
        for beginning, why in _REFUSED.items():
            if field.startswith(beginning):
                raise UserError(f"--sweep.{field} cannot be swept: {why}")
        if field not in known and not field.startswith(OPTIONS):
            import difflib

            close = difflib.get_close_matches(field, known, n=1)
            raise UserError(
                f"--sweep.{field} is no field of the config; "
                + (f"did you mean {close[0]}?" if close else f"fields: {', '.join(known)}")
            )


def parse_ranges(texts: Mapping[str, str], config: Config) -> list[Range]:
    """Ranges from what was typed.

    Args:
        texts: for each field.
        config: the experiment; its fields have types.

    Returns:
        A range for each field, in their order.

    Raises:
        UserError: a field or a range cannot be used.
    """
    check_fields([*texts], config)
    known = kinds(config)
    return [ranges.parse(field, text, known.get(field, Option)) for field, text in texts.items()]


def grid(swept: Sequence[Range]) -> list[Setting]:
    """All combinations, the last field varying fastest.

    >>> grid([Range("a", (1, 2)), Range("b", (3, 4))])
    [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2, 'b': 3}, {'a': 2, 'b': 4}]
    """
    names = [chosen.field for chosen in swept]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(c.values for c in swept))]


def drawn(swept: Sequence[Range], count: int, config: Config) -> list[Setting]:
    """Settings drawn at random, all fields anew for each: the first of more are those of fewer.

    Args:
        swept: the ranges.
        count: of settings.
        config: the experiment, whose seed they are drawn by.

    Returns:
        Settings that differ from each other, as far as there are so many.
    """
    generator, known = streams.settings(config.seed), kinds(config)
    found: list[Setting] = []
    for _ in range(100 * count):
        setting = {chosen.field: ranges.draw(chosen, known.get(chosen.field, Option), generator) for chosen in swept}
        if setting not in found:
            found.append(setting)
        if len(found) == count:
            break
    return found


def read(path: Path, config: Config) -> list[Setting]:
    """A list of settings that is no grid: a `.csv` with fields as columns, or a `.json` with a list of objects.

    Args:
        path: of the file.
        config: the experiment.

    Returns:
        A setting for each row.

    Raises:
        UserError: the file is missing or damaged, or has fields or values that cannot be used.
    """
    rows = _rows(path)
    if not rows or not rows[0]:
        raise UserError(f"--sweep={path} holds no settings")
    check_fields(list(dict.fromkeys(field for row in rows for field in row)), config)
    known = kinds(config)
    found: list[Setting] = []
    for number, row in enumerate(rows, 1):
        setting = {}
        for field, value in row.items():
            kind = known.get(field, Option)
            text = value if isinstance(value, str) else json.dumps(value).strip("[]").replace('"', "")
            chosen = (text,) if kind is str else ranges.parse(field, text, kind).values
            if len(chosen) != 1:
                raise UserError(f"--sweep={path}: setting {number} has {len(chosen)} values for {field}; give one")
            setting[field] = chosen[0]
        if setting in found:
            raise UserError(f"--sweep={path}: setting {number} is there already, as {found.index(setting) + 1}")
        found.append(setting)
    return found


def checked(config: Config, settings: Sequence[Mapping[str, Any]], *, seeds: int, halving: int) -> list[Setting]:
    """Settings as they come from a program, with Python's numbers for NumPy's and tuples for lists.

    Args:
        config: the experiment.
        settings: for each the fields that differ from the config.
        seeds: of each setting.
        halving: as for `sweep`.

    Returns:
        Settings.

    Raises:
        UserError: there is none, one twice, or one with other fields than the first; a field that cannot be swept; a
            number of seeds or a halving that is none.
    """
    if type(seeds) is not int or seeds < 1:
        raise UserError(f"seeds is {seeds!r}; give an integer of 1 or more")
    if type(halving) is not int or halving < 0 or halving == 1:
        raise UserError(f"halving is {halving!r}; give 0, or an integer of 2 or more")
    if not isinstance(settings, Sequence) or not all(isinstance(setting, Mapping) for setting in settings):
        raise UserError(f"settings is a {type(settings).__name__}; give a list of dicts, each with fields and values")
    if not settings:
        raise UserError("settings is empty; give one or more")
    check_fields([*settings[0]], config)
    found: list[Setting] = []
    for number, setting in enumerate(settings):
        if {*setting} != {*settings[0]}:
            differing = ", ".join(sorted({*setting} ^ {*settings[0]}))
            raise UserError(f"setting {number} and setting 0 differ in having {differing}; give all the same fields")
        plain = {field: _plain(value) for field, value in setting.items()}
        if plain in found:
            raise UserError(f"setting {number} is there already, as {found.index(plain)}")
        found.append(plain)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def lanes(config: Config, settings: Sequence[Setting], seeds: int) -> list[Lane]:
    """A lane for each setting and seed.

    Args:
        config: the experiment.
        settings: that are tried.
        seeds: of each setting: that of the config, and those that follow it.

    Returns:
        Lanes in order.
    """
    found: list[Lane] = []
    for place, chosen in enumerate(settings):
        changed = with_setting(config, chosen)
        for seed in range(config.seed, config.seed + seeds):
            one = copy.deepcopy(changed)
            one.seed = seed
            found.append(Lane(len(found), place, dict(chosen), one))
    return found


def with_setting(config: Config, setting: Mapping[str, Any]) -> Config:
    """A copy of a config with other values for some fields.

    >>> with_setting(Config(), {"train.epochs": 3}).train.epochs
    3
    """
    changed = copy.deepcopy(config)
    for path, value in setting.items():
        *parents, name = path.split(".")
        owner: Any = changed
        for parent in parents:
            owner = getattr(owner, parent)
        if isinstance(owner, dict):
            owner[name] = value
        else:
            setattr(owner, name, value)
    return changed


def shown(value: Any) -> str:
    """A value as a person would type it.

    >>> shown((64, 32)), shown(0.00031622776), shown(True)
    ('64,32', '0.000316228', 'true')
    """
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"--sweep={path} cannot be read ({why}): give a .csv or .json of settings, or random:N") from (
            error
        )
    if path.suffix == ".json":
        try:
            rows = json.loads(text, object_pairs_hook=lambda pairs: _once(path, pairs))
        except ValueError as error:
            raise UserError(f"--sweep={path} is no JSON ({error})") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"--sweep={path} must hold a list of objects, each with fields and values")
        return rows
    lines = [line for line in csv.reader(text.splitlines(), skipinitialspace=True) if line]
    header, *rest = lines or [[]]
    for number, line in enumerate(rest, 2):
        if len(line) != len(header):
            raise UserError(f"--sweep={path}: line {number} has {len(line)} values; the header has {len(header)}")
    return [_once(path, list(zip(header, line, strict=True))) for line in rest]


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for place, (field, _) in enumerate(pairs):
        if not field:
            raise UserError(f"--sweep={path}: column {place + 1} has no name")
        if field in [other for other, _ in pairs[:place]]:
            raise UserError(f"--sweep={path} has {field} twice; give it once")
    return dict(pairs)
