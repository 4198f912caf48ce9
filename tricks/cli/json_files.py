"""JSON files that are whole or absent, and strictly JSON."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all.

    Args:
        path: of the file.
        content: plain values; None is written for numbers that are not finite.
    """
    temporary = unfinished(path)
    temporary.write_text(json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)


def unfinished(path: Path) -> Path:
    """What a file is called while it is written: a name that nobody else gives.

    >>> unfinished(Path("run/summary.json")).as_posix()
    'run/summary.json.tricks-tmp'
    """
    return path.with_name(path.name + ".tricks-tmp")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Args:
        path: of the file.

    Returns:
        Plain values.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    return parse(path.read_bytes())


def parse(text: str | bytes) -> Any:
    """Plain values from JSON.

    Raises:
        ValueError: it is no JSON.

    >>> parse("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def without_nan(content: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON cannot hold.

    Args:
        content: plain values.

    Returns:
        Plain values.

    >>> without_nan({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(content, Mapping):
        return {name: without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
