"""Examples that are there twice, within a split and in two of them."""

from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.spatial import cKDTree

from tricks import streams
from tricks.diagnosis.measurements import examples, kernels
from tricks.diagnosis.measurements.examples import Splits

_NEAR = 0.02  # Standard deviations of a column, in root mean square.
_TYPICAL = 0.1  # Of the typical distance of neighbours.
_NEIGHBOUR = 5
_QUERIES, _REFERENCES = 300, 10_000  # That the typical distance is measured on.
_SPREAD = 2000  # That the widest axes are measured on.
_AXES = 10
_CANDIDATES = 4
_COUNTED = 2000
_BLOCK = 1024
_SHOWN = 5


def shares(splits: Splits, *, seed: int = 0) -> dict[str, Any]:
    """Finds examples of a split that have a copy among the training examples, of all of them.

    A copy has the same features up to rounding, or differs by at most .02 standard deviations of a column in root mean
    square and a tenth of the typical distance of neighbours; with tokens only equal ones are found. Tables of
    few values repeat by nature: as many held-out examples then have a copy as training examples do (`expected`), and
    leaked are those above that. If many have one though hardly any would by the values of the columns
    (`expected_if_independent`), they were copied before they were split.

    Args:
        splits: `train`, and those of `validation` and `test` that there are: (features, targets).
        seed: of the samples.

    Returns:
        `within_train`, `train_in_validation`, `train_in_test` (None of a split that is not there), each with the
        `share` of that split's examples, its `interval`, the `count`, `exact` (share of equal ones), `same_labels`
        (share of the copies whose target is the same), `pairs` (some places, of the example and of its copy in train);
        `expected`; `expected_if_independent` (the share with an equal one if columns were independent, so at least
        that), `distance` (the largest of a copy), `typical_distance`; None with tokens.

    >>> rows = np.random.default_rng(0).normal(size=(300, 4))
    >>> found = shares({"train": (rows[:200], np.zeros(200)), "test": (rows[150:250], np.zeros(100))})
    >>> found["train_in_test"]["share"], found["train_in_test"]["pairs"][0], found["expected"]
    (0.5, [0, 150], 0.0)
    """
    names = [name for name in ("train", "validation", "test") if name in splits]
    identities = dict(zip(names, _identities([splits[name][0] for name in names]), strict=True))
    rows = [examples.rows_of(splits[name][0]) for name in names]
    train, index = rows[0], None
    if not train.tokens and train.values.shape[1] and len(train.values) > _NEIGHBOUR:
        index = _index(train, streams.sample(seed, "duplicates"))
    found: dict[str, Any] = {_KEYS[name]: None for name in _KEYS}
    for name, part in zip(names, rows, strict=True):
        copies = _equal(identities["train"], None if name == "train" else identities[name])
        exact = float((copies >= 0).mean())
        if index is not None:
            copies = _with_near(copies, part.values, index)
        found[_KEYS[name]] = {"exact": exact} | _described(copies, splits["train"][1], splits[name][1])
    return found | {
        "expected": found["within_train"]["share"],
        "expected_if_independent": None if index is None else _if_independent(train.values),
        "distance": None if index is None else index.distance,
        "typical_distance": None if index is None else index.typical,
    }


_KEYS = {"train": "within_train", "validation": "train_in_validation", "test": "train_in_test"}


def _identities(features: list[Any]) -> list[np.ndarray]:
    """A number for each example, the same for equal ones."""
    numbers: dict[int, int] = {}
    given = []
    for part in features:
        rows = zip(*map(np.asarray, jax.tree.leaves(part)), strict=True)
        # Adding 0 makes 0 of -0, which is equal to it.
        contents = (b"".join((array + 0).tobytes() for array in row) for row in rows)
        given.append(np.array([numbers.setdefault(hash(content), len(numbers)) for content in contents], int))
    return given


def _equal(train: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """The place in train of an equal example, another one; -1 of none."""
    order = np.argsort(train, kind="stable")
    values = train[order]
    queries = train if other is None else other
    place = np.searchsorted(values, queries)
    if other is None:
        # The first of its kind looks at the one after it.
        place = np.where(order[place] == np.arange(len(train)), place + 1, place)
    place = np.minimum(place, len(train) - 1)
    copy = order[place]
    return np.where((values[place] == queries) & ((other is not None) | (copy != np.arange(len(queries)))), copy, -1)


class _Index(NamedTuple):
    """Training examples, to find the nearest of: in few dimensions, and confirmed in all."""

    train: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    tree: cKDTree
    places: np.ndarray
    """Of the points of the tree among the examples."""
    distance: float
    typical: float


def _index(train: examples.Rows, generator: np.random.Generator) -> _Index:
    some = examples.take(train, examples.chosen(len(train.values), _REFERENCES, generator))
    mean, deviation = examples.moments(some)
    scale, mean = examples.scales_of(some, deviation), mean.astype(np.float32)
    values = (some.values - mean) / scale
    typical, columns = _typical(values, generator), int(np.count_nonzero(deviation))
    # In few dimensions examples are close by chance: at most about a thousandth of them shall be.
    distance = min(_NEAR * columns**0.5, typical * min(_TYPICAL, 0.001 ** (1 / max(columns, 1))))
    axes = _widest_axes(values[:_SPREAD], generator)
    points, places = np.unique(_projected(train.values, mean, scale, axes), axis=0, return_index=True)
    return _Index(train.values, mean, scale, axes, cKDTree(points), places, distance, typical)


def _projected(values: np.ndarray, mean: np.ndarray, scale: np.ndarray, axes: np.ndarray) -> np.ndarray:
    # In blocks that stay in the cache.
    blocks = (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))
    return np.concatenate([((block - mean) / scale) @ axes for block in blocks])


def _with_near(copies: np.ndarray, values: np.ndarray, index: _Index) -> np.ndarray:
    """Copies, with the places of near ones where there was none."""
    alone = np.flatnonzero(copies < 0)
    if not len(alone):
        return copies
    found = copies.copy()
    candidates = min(_CANDIDATES, index.tree.n)
    points = _projected(values, index.mean, index.scale, index.axes)[alone]
    _, near = index.tree.query(points, k=candidates, distance_upper_bound=index.distance)
    for candidate in near.reshape(len(alone), -1).T[::-1]:
        there = candidate < index.tree.n
        queries, places = alone[there], index.places[candidate[there]]
        gap = np.linalg.norm((values[queries] - index.train[places]) / index.scale, axis=1)
        close = gap <= index.distance
        if values is index.train:
            close &= queries != places
        found[queries[close]] = places[close]
    return found


def _if_independent(train: np.ndarray) -> float:
    """The share of rows with an equal other one, n times the chance that two agree in every column, at most 1."""
    some = np.sort(train[:: -(-len(train) // _COUNTED)], axis=0)
    n = len(some)
    agree = 1.0
    for column in some.T:
        counts = np.diff(np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1], [True]])))
        agree *= float((counts * (counts - 1)).sum()) / (n * (n - 1))
    return min(len(train) * agree, 1.0)


def _typical(values: np.ndarray, generator: np.random.Generator) -> float:
    """Median distance of an example to the fifth nearest other: the nearest may all be copies."""
    queries = examples.chosen(len(values), _QUERIES, generator)
    distances = kernels.squared_distances(values[queries], values)
    distances[np.arange(len(queries)), queries] = np.inf
    fifth = np.partition(distances, _NEIGHBOUR - 1, axis=1)[:, _NEIGHBOUR - 1]
    return float(np.sqrt(np.median(fifth)))


def _widest_axes(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Orthonormal directions (d, 10) along which examples spread most, about: copies stay close, others do not."""
    count = min(_AXES, values.shape[1])
    axes = generator.normal(size=(values.shape[1], count)).astype(np.float32)
    for _ in range(3):
        axes, _ = np.linalg.qr(values.T @ (values @ axes))
    return axes


def _described(copies: np.ndarray, train: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    places = np.flatnonzero(copies >= 0)
    same = np.asarray(targets)[places] == np.asarray(train)[copies[places]]
    return {
        "share": len(places) / len(copies),
        "interval": examples.wilson(len(places), len(copies)),
        "count": len(places),
        "same_labels": float(same.reshape(len(places), -1).all(axis=1).mean()) if len(places) else None,
        "pairs": [[int(place), int(copies[place])] for place in places[:_SHOWN]],
    }
