"""What a source of examples hands over, before splitting and normalizing."""

from typing import NamedTuple

import numpy as np


class Raw(NamedTuple):
    """Examples as stored: features (n, ...), targets (n,); the test part is None where the set has none."""

    pixels: bool
    """Whether all features are in one unit, as the pixels of an image are."""
    classes: int | None
    features: np.ndarray
    targets: np.ndarray
    test_features: np.ndarray | None = None
    test_targets: np.ndarray | None = None
