"""Data with a known answer for the experiments on losses."""

from typing import Any

KNOWN: dict[str, Any] = {}
