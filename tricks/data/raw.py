"""What a source of examples hands over, before splitting and normalizing."""

from typing import Any, NamedTuple

import numpy as np


class Raw(NamedTuple):
    """Examples as stored. Every array has an example in each row; the test part is None where the source has none."""

    features: Any
    """Pytree of arrays (n, ...)."""
    targets: np.ndarray
    """(n, ...), classes from 0 or numbers."""
    classes: int | None
    """Number of classes; None for a regression."""
    kinds: Any
    """A word for each array of the features, in the same pytree: `numbers`, `pixels` (all in one unit) or `tokens`."""
    test_features: Any = None
    test_targets: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    """Names of the features of a table, whose missing values are NaN."""
    parts: np.ndarray | None = None
    """(n,), the place of each example's part in `splits.PARTS`, where the source says it."""
    groups: np.ndarray | None = None
    """(n,) integers; examples of one group stay in one part."""
