"""Data with a known answer for the experiments on regularization."""

from typing import Any

KNOWN: dict[str, Any] = {}
