"""What a field is swept over, from the text that a person types."""

import math
from typing import Any, NamedTuple

import numpy as np

from tricks.cli.option_flags import value_of
from tricks.config import Option
from tricks.errors import UserError

_MOST = 10_000
SCALES = ("log", "linear")
_FORMS = "a list such as 0,0.2,0.5, or low:high:log:count or low:high:linear:count"
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Range(NamedTuple):
    """The values of one field."""

    field: str
    values: tuple[Any, ...]
    """Of a grid."""
    low: float = math.nan
    """Of an interval that may be drawn from; NaN for a list."""
    high: float = math.nan
    scale: str = ""

    @property
    def is_interval(self) -> bool:
        """Whether there are values between those of the grid."""
        return bool(self.scale)


def parse(field: str, text: str, kind: Any) -> Range:
    """The range that a text describes.

    Lists have commas between their values; those of a field of several numbers have semicolons, 64,64;128,128. An
    interval is `low:high:log:count` or `low:high:linear:count`, with both ends among the values; of a field of whole
    numbers they are rounded.

    Args:
        field: of the config.
        text: as it was typed.
        kind: type of the field: bool, int, float, str, a tuple, or `Option` for whatever the text looks like.

    Returns:
        The range.

    Raises:
        UserError: there is no value, one twice, one of another type, or the interval is empty, reversed, or
            logarithmic through 0.

    >>> parse("train.epochs", "1:100:log:3", int).values
    (1, 10, 100)
    >>> parse("model.hidden_sizes", "64;64,32", tuple[int, ...]).values
    ((64,), (64, 32))
    """
    if kind is not str and _is_interval(text):
        return _interval(field, text, kind)
    separator = ";" if ";" in text or "tuple" in str(kind) else ","
    words = [word.strip() for word in text.split(separator)]
    if not all(words):
        raise UserError(f"--sweep.{field} is {text!r}; a value is missing: give {_FORMS}")
    values = tuple(_value(field, word, kind) for word in words)
    for place, value in enumerate(values):
        if value in values[:place]:
            raise UserError(f"--sweep.{field} is {text!r}; it has {words[place]} twice")
    return Range(field, values)


def draw(chosen: Range, kind: Any, generator: np.random.Generator) -> Any:
    """One value of a range, drawn: any of an interval, uniform on its scale; of a list one of its values.

    Args:
        chosen: the range.
        kind: type of the field.
        generator: is drawn from.

    Returns:
        A value.

    >>> 0.1 <= draw(parse("data.noise", "0.1:10:log:3", float), float, np.random.default_rng(0)) <= 10
    True
    """
    if not chosen.is_interval:
        return chosen.values[int(generator.integers(len(chosen.values)))]
    if chosen.scale == "log":
        value = math.exp(generator.uniform(math.log(chosen.low), math.log(chosen.high)))
    else:
        value = generator.uniform(chosen.low, chosen.high)
    return _number(min(max(value, chosen.low), chosen.high), kind)


def _is_interval(text: str) -> bool:
    parts = text.split(":")
    return len(parts) > 1 and _as_number(parts[0]) is not None


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _interval(field: str, text: str, kind: Any) -> Range:
    parts = [part.strip() for part in text.split(":")]
    low, high = (_as_number(part) for part in (*parts, "", "")[:2])
    scale, count = (*parts, "", "", "", "")[2:4]
    if kind not in (int, float, Option):
        raise UserError(f"--sweep.{field} is {text!r}; an interval is for numbers: give a list")
    if low is None or high is None or scale not in SCALES or len(parts) != 4:
        raise UserError(f"--sweep.{field} is {text!r}; allowed: {_FORMS}")
    if not count.isdecimal() or not 2 <= int(count) <= _MOST:
        raise UserError(f"--sweep.{field} is {text!r}; its count is {count!r}: give 2 to {_MOST}")
    if not low < high:
        raise UserError(f"--sweep.{field} is {text!r}; its low end must be below its high end")
    if scale == "log" and low <= 0:
        raise UserError(f"--sweep.{field} is {text!r}; a logarithmic interval begins above 0: choose linear, or a list")
    grid = np.geomspace(low, high, int(count)) if scale == "log" else np.linspace(low, high, int(count))
    values = tuple(dict.fromkeys(_number(value, kind) for value in _legible(grid)))
    return Range(field, values, low, high, scale)


def _legible(grid: np.ndarray) -> list[float]:
    """As few digits as leave the steps what they are: 0.000185, and not 0.0001847849797422291."""
    steps = np.diff(grid)
    nearest = np.minimum(np.r_[steps, np.inf], np.r_[np.inf, steps])
    for digits in (3, 6):
        rounded = np.array([float(f"{value:.{digits}g}") for value in grid])
        if (np.abs(rounded - grid) <= 0.02 * nearest).all():
            return [float(value) for value in rounded]
    return [float(value) for value in grid]


def _number(value: float, kind: Any) -> Any:
    return round(value) if kind is int else float(value)


def _value(field: str, word: str, kind: Any) -> Any:
    wrong = UserError(f"--sweep.{field} has {word!r}; it must be of type {getattr(kind, '__name__', kind)}")
    if kind is Option:
        return value_of(word)
    if kind is str:
        return word
    if kind is bool:
        if word.lower() not in _WORDS:
            raise wrong
        return _WORDS[word.lower()]
    if kind in (int, float):
        number = _as_number(word)
        if number is None or (kind is int and number != round(number)):
            raise wrong
        return int(number) if kind is int else number
    value = value_of(word)
    value = value if isinstance(value, tuple) else (value,)
    if not all(type(element) is int for element in value):
        raise UserError(f"--sweep.{field} has {word!r}; give whole numbers, such as 64,64;128,128")
    return value
