"""Data with a known answer for the experiments on batches."""

from typing import Any

KNOWN: dict[str, Any] = {}
