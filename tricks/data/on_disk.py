"""Features that stay in their files, as arrays that are read a few rows at a time."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tricks.data import windows
from tricks.data.row_groups import RowGroups
from tricks.data.stored import Stored
from tricks.data.windows import Windows

STORAGES = ("memory", "disk")
WINDOW = 2**16
"""Examples that are shuffled together, unless another number is asked for."""
VALUES_AT_ONCE = 2**20
"""Of the sums that make mean and deviation: 8 MiB."""

Fitted = Sequence[tuple[np.ndarray | None, np.ndarray | None]]


def trained_on(leaves: Sequence[Any], rows: np.ndarray, kinds: Sequence[str], fitted: Fitted, window: int) -> list[Any]:
    """The training part of features on disk.

    Args:
        leaves: (n, ...) each, as stored.
        rows: of the training part, ascending.
        kinds: of each, as in `Raw`.
        fitted: mean and scale of each.
        window: examples that are shuffled together.

    Returns:
        A `Stored` array for each, all with the same order of an epoch.

    Raises:
        UserError: the window is too small for the row groups of a file.
    """
    order = _windows(leaves, rows, window)
    return _arrays(leaves, rows, kinds, fitted, order)


def evaluated(leaves: Sequence[Any], rows: np.ndarray, kinds: Sequence[str], fitted: Fitted) -> list[Any]:
    """Another part of features on disk, which is read in its order.

    Args:
        leaves: as for `trained_on`, and likewise the others.
        rows: likewise.
        kinds: likewise.
        fitted: likewise.

    Returns:
        A `Stored` array for each.
    """
    apart = [leaf.apart() if isinstance(leaf, RowGroups) else leaf for leaf in leaves]
    return _arrays(apart, rows, kinds, fitted, None)


def _arrays(
    leaves: Sequence[Any], rows: np.ndarray, kinds: Sequence[str], fitted: Fitted, order: Windows | None
) -> list[Any]:
    return [
        Stored(leaf, rows, kind=kind, mean=mean, scale=scale, windows=order)
        for leaf, kind, (mean, scale) in zip(leaves, kinds, fitted, strict=True)
    ]


def _windows(leaves: Sequence[Any], rows: np.ndarray, window: int) -> Windows:
    table = leaves[0]
    if isinstance(table, RowGroups):
        found = windows.of_groups(rows, table.ends, window)
        # The window that is trained on, and the next one while it is fetched.
        table.keep(2 * -(-(len(found.edges) - 1) // found.number) + 2)
        return found
    return windows.cut(len(rows), window, sum(math.prod(a.shape[1:]) * a.dtype.itemsize for a in leaves))
