"""Data with a known answer for the experiments on optimizers."""

from typing import Any

KNOWN: dict[str, Any] = {}
