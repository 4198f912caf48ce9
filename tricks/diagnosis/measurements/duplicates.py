"""Examples that are there twice, within a split and in two of them."""

from typing import Any

import jax
import numpy as np
from scipy.spatial import cKDTree

from tricks.diagnosis.measurements import examples, kernels
from tricks.diagnosis.measurements.examples import Splits

_AXES = 10
_QUERIES = 300
_REFERENCES = 10_000
_NEAR = 0.02  # Standard deviations of a column, in root mean square.
_TYPICAL = 0.1  # Of the median distance of a nearest neighbour.
_SHOWN = 5


def shares(splits: Splits, *, seed: int = 0) -> dict[str, Any]:
    """Finds examples of a split that have a copy among the training examples, of all of them.

    A copy has the same features up to rounding, or differs by at most .02 standard deviations of a column in root mean
    square and a tenth of the median distance of nearest neighbours. Copies with tokens have the same ones. Tables of
    few values repeat by nature: as many held-out examples then have a copy as training examples do (`expected`), and
    leaked are those above that.

    Args:
        splits: `train`, and those of `validation` and `test` that there are: (features, targets).
        seed: of the samples.

    Returns:
        `within_train`, `train_in_validation`, `train_in_test` (None of a split that is not there), each with the
        `share` of that split's examples, its `interval`, the `count`, `exact` (share of equal ones), `same_labels`
        (share of the copies whose target is the same), `pairs` (some places, of the example and of its copy in train);
        `expected`, `distance` (the largest of a copy), `typical_distance`.

    >>> rows = np.random.default_rng(0).normal(size=(300, 4))
    >>> found = shares({"train": (rows[:200], np.zeros(200)), "test": (rows[150:250], np.zeros(100))})
    >>> found["train_in_test"]["share"], found["train_in_test"]["pairs"][0], found["expected"]
    (0.5, [0, 150], 0.0)
    """
    names = [name for name in ("train", "validation", "test") if name in splits]
    rows = {name: examples.rows_of(splits[name][0]) for name in names}
    identities = _identities([splits[name][0] for name in names])
    ids = dict(zip(names, identities, strict=True))
    near = _Near(rows, seed) if _has_distances(rows["train"]) else None
    found: dict[str, Any] = {}
    for name, key in zip(names, ("within_train", "train_in_validation", "train_in_test"), strict=False):
        key = "within_train" if name == "train" else f"train_in_{name}"
        copies = _equal(ids["train"], None if name == "train" else ids[name])
        exact = copies >= 0
        if near is not None:
            copies = near.fill(copies, name)
        found[key] = _described(copies, exact, splits["train"][1], splits[name][1])
    for key in ("within_train", "train_in_validation", "train_in_test"):
        found.setdefault(key, None)
    return found | {
        "expected": found["within_train"]["share"],
        "distance": None if near is None else near.distance,
        "typical_distance": None if near is None else near.typical,
    }


def _has_distances(train: examples.Rows) -> bool:
    return not train.tokens and train.values.shape[1] > 0 and len(train.values) > 2


def _identities(features: list[Any]) -> list[np.ndarray]:
    """A number for each example, the same for equal ones."""
    numbers: dict[bytes, int] = {}
    given = []
    for part in features:
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(part)]
        # Adding 0 makes 0 of -0, which is equal to it.
        flat = [np.ascontiguousarray(leaf.reshape(len(leaf), -1) + leaf.dtype.type(0)) for leaf in leaves]
        rows = zip(*(leaf.view(np.uint8) for leaf in flat), strict=True)
        given.append(np.array([numbers.setdefault(b"".join(map(bytes, row)), len(numbers)) for row in rows], int))
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


class _Near:
    """Nearest training examples within a small distance, found in few dimensions and confirmed in all."""

    def __init__(self, rows: dict[str, examples.Rows], seed: int):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(43,)))
        mean, deviation = examples.moments(rows["train"])
        self.values = {name: examples.standardized(part, mean, deviation) for name, part in rows.items()}
        train = self.values["train"]
        self.typical = _typical(train, generator)
        self.distance = min(_NEAR * float(np.count_nonzero(deviation)) ** 0.5, _TYPICAL * self.typical)
        self.axes = _widest_axes(train[examples.chosen(len(train), 2000, generator)], generator)
        points, self.places = np.unique(train @ self.axes, axis=0, return_index=True)
        self.tree = cKDTree(points)

    def fill(self, copies: np.ndarray, name: str) -> np.ndarray:
        """Copies, with near ones in place of none."""
        open_, values, train = np.flatnonzero(copies < 0), self.values[name], self.values["train"]
        count = min(4, self.tree.n)
        if not len(open_) or self.distance == 0:
            return copies
        _, near = self.tree.query(values[open_] @ self.axes, k=count, distance_upper_bound=self.distance)
        near = near.reshape(len(open_), -1)
        filled = copies.copy()
        for candidate in near.T[::-1]:
            there = candidate < self.tree.n
            queries, places = open_[there], self.places[candidate[there]]
            if name == "train":
                queries, places = queries[queries != places], places[queries != places]
            gap = np.linalg.norm(values[queries] - train[places], axis=1)
            filled[queries[gap <= self.distance]] = places[gap <= self.distance]
        return filled


def _typical(train: np.ndarray, generator: np.random.Generator) -> float:
    """Median distance of a training example to the nearest other."""
    queries = examples.chosen(len(train), _QUERIES, generator)
    others = examples.chosen(len(train), _REFERENCES, generator)
    distances = kernels.squared_distances(train[queries], train[others])
    distances[queries[:, None] == others[None]] = np.inf
    return float(np.sqrt(np.median(distances.min(axis=1))))


def _widest_axes(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Orthonormal directions (d, 10) along which examples spread most, about: copies stay close, others do not."""
    count = min(_AXES, values.shape[1])
    axes = generator.normal(size=(values.shape[1], count)).astype(np.float32)
    for _ in range(3):
        axes, _ = np.linalg.qr(values.T @ (values @ axes))
    return axes


def _described(copies: np.ndarray, exact: np.ndarray, train: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    places = np.flatnonzero(copies >= 0)
    same = np.asarray(targets)[places] == np.asarray(train)[copies[places]]
    return {
        "share": len(places) / len(copies),
        "interval": examples.wilson(len(places), len(copies)),
        "count": len(places),
        "exact": float(exact.mean()),
        "same_labels": float(same.reshape(len(places), -1).all(axis=1).mean()) if len(places) else None,
        "pairs": [[int(place), int(copies[place])] for place in places[:_SHOWN]],
    }
