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
        content: plain values.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


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
