"""What stands in for numbers that are missing."""

from collections.abc import Sequence

import numpy as np

from tricks.errors import UserError

MISSING = ("refuse", "mean", "median", "zero")


def fill(features: np.ndarray, rows: np.ndarray, *, by: str, columns: Sequence[str]) -> None:
    """Puts a number in place of each NaN, by what is there in the training examples alone.

    Args:
        features: (n, columns), changed in place.
        rows: of the training examples.
        by: `mean` or `median` of the column, or `zero`.
        columns: names, for messages.

    Raises:
        UserError: a column has no value in the training examples.

    >>> x = np.array([[1.0], [np.nan], [3.0], [100.0]], np.float32)
    >>> fill(x, np.array([0, 1, 2]), by="mean", columns=["size"])
    >>> x[:, 0].tolist()
    [1.0, 2.0, 3.0, 100.0]
    """
    for j, name in enumerate(columns):
        column = features[:, j]
        absent = np.isnan(column)
        if not absent.any():
            continue
        if by == "zero":
            column[absent] = 0
            continue
        known = column[rows][~absent[rows]].astype(np.float64)
        if not len(known):
            raise UserError(
                f"column {name!r} has no value in any of the {len(rows)} training examples; "
                f"choose data.missing=zero, or leave it out: data.ignore"
            )
        column[absent] = known.mean() if by == "mean" else np.median(known)
