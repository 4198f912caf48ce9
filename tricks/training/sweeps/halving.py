"""Successive halving: how far every setting is trained, and which go on.

After each rung the better 1/eta of the settings go on. A setting is as good as the mean, over its seeds, of the best
validation of each so far, so that the luck of one seed decides less.

Source: Jamieson and Talwalkar, arXiv 1502.07943.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np


def rungs(settings: int, epochs: int, eta: int) -> list[float]:
    """The share of all epochs that is trained before each choice; the last is 1, after which nothing is chosen.

    Each rung is eta times as long as the one before it, the first no shorter than an epoch, and there are no more than
    it takes to come down to one setting.

    Args:
        settings: at the start.
        epochs: of a whole training.
        eta: 2 or more; 0 for no halving.

    Returns:
        Shares, rising.

    >>> rungs(27, 90, 3)
    [0.037037037037037035, 0.1111111111111111, 0.3333333333333333, 1.0]
    >>> rungs(27, 90, 0)
    [1.0]
    """
    if eta < 2:
        return [1.0]
    # Whole numbers: the logarithm of 243 to base 3 is 4.999999999999999.
    steps = 0
    while eta ** (steps + 1) <= epochs and eta**steps < settings:
        steps += 1
    return [1 / eta**left for left in range(steps, -1, -1)]


def survivors(values: Mapping[int, Sequence[float]], eta: int) -> list[int]:
    """The settings that go on: the better 1/eta of them, at least one.

    Args:
        values: for each setting one of each seed, the lower the better; those that are not finite count as the worst.
        eta: 2 or more.

    Returns:
        Settings, the best first; of equal ones that with the smaller number.

    >>> survivors({0: [0.5, 0.7], 1: [0.1, math.inf], 2: [0.2, 0.3], 3: [0.9, 0.9]}, eta=2)
    [2, 0]
    """
    return ranked(values)[: max(1, math.ceil(len(values) / eta))]


def ranked(values: Mapping[int, Sequence[float]]) -> list[int]:
    """Settings from the best to the worst: first those with most finite values, of those the ones of least mean.

    Args:
        values: for each setting one of each seed, the lower the better.

    Returns:
        Settings; of equal ones that with the smaller number first.
    """

    def worth(setting: int) -> tuple[int, float, int]:
        finite = [value for value in values[setting] if math.isfinite(value)]
        return len(values[setting]) - len(finite), float(np.mean(finite)) if finite else math.inf, setting

    return sorted(values, key=worth)
