"""Paths of weights: how long they are, and how they look in a plane."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def length_over_distance(path: np.ndarray) -> float:
    """Length of a path over the distance of its ends: 1 for a straight one.

    Args:
        path: (points, parameters).

    Returns:
        1 or more.

    >>> length_over_distance(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]))
    1.4
    """
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return float(np.sum(steps) / np.linalg.norm(path[-1] - path[0]))


def in_plane(paths: Sequence[np.ndarray]) -> dict[str, Any]:
    """Two paths from one start, in the plane of their two principal directions.

    Args:
        paths: one of batches of 1 and one of all examples, each (points, parameters).

    Returns:
        Both as lists of points, from 0, under `1` and `all`, and the `shares` of the spread that the directions have.

    >>> line = np.array([[0.0, 0.0], [2.0, 0.0]])
    >>> found = in_plane([line, line])
    >>> found["1"][0], found["shares"]
    ([0.0, 0.0], [1.0, 0.0])
    """
    points = np.concatenate(paths)
    centred = points - points.mean(0, keepdims=True)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[:2].T
    of_path = np.split(flat - flat[:1], [len(paths[0])])
    return {
        "1": of_path[0].tolist(),
        "all": of_path[1].tolist(),
        "shares": (values[:2] ** 2 / np.sum(values**2)).tolist(),
    }
