"""Whether train and test examples can be told apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import chdtrc, kolmogorov

from tricks import streams
from tricks.diagnosis.measurements import examples, kernels
from tricks.diagnosis.measurements.examples import Splits

_EXAMPLES = 1000  # Of each of the two.
_FOLDS = 5
_RIDGE = 3.0
_SHOWN = 10
_LEVEL = 0.01


def probe(splits: Splits, names: Sequence[str] = (), *, permutations: int = 499, seed: int = 0) -> dict[str, Any]:
    """Trains a probe to tell training examples from others, and tests whether it can.

    The probe is a kernel regression on which split an example is of; its scores of examples held out from it have an
    `auc`, .5 if nothing differs. With the folds fixed its scores are linear in the splits, so all permutations of them
    are one matrix product, and the test is exact: under no shift p < .01 in 1 % of the cases at most.

    Args:
        splits: `train`, and those of `validation` and `test` that there are: (features, targets).
        names: of the columns of the features, where there are any.
        permutations: of the test; the smallest p-value is about 2 / permutations.
        seed: of the samples, folds and permutations.

    Returns:
        `train_test` and `train_validation`, None without that split: `auc`, its `interval`, `p_value` (twice the
        smaller of that of the permutations and of Simes' test of single features, 1 at most), `features` ([name,
        largest difference of the distribution functions] of those that differ at a false discovery rate of 1 %, at most
        10), `differing` (how many do), `labels_p_value` (chi-squared test of the classes, Kolmogorov-Smirnov test of
        numbers). What cannot be judged is None.

    Source: Lopez-Paz, Oquab, arXiv:1610.06545; Simes 1986; Benjamini, Hochberg 1995.

    >>> draw = np.random.default_rng(0).normal
    >>> moved = draw(size=(200, 3)) + [0, 1, 0]
    >>> found = probe({"train": (draw(size=(200, 3)), np.zeros(200, int)), "test": (moved, np.zeros(200, int))})
    >>> found["train_test"]["p_value"] < 0.01, [name for name, _ in found["train_test"]["features"]]
    (True, ['1'])
    """
    found: dict[str, Any] = {"train_test": None, "train_validation": None}
    train = examples.rows_of(splits["train"][0], names)
    for name in ("test", "validation"):
        if name in splits:
            generator = streams.sample(seed, "shift")
            other = examples.rows_of(splits[name][0], names)
            found[f"train_{name}"] = _compared(train, other, permutations, generator) | {
                "labels_p_value": _of_labels(np.asarray(splits["train"][1]), np.asarray(splits[name][1]))
            }
    return found


def _compared(
    train: examples.Rows, other: examples.Rows, permutations: int, generator: np.random.Generator
) -> dict[str, Any]:
    if train.values.shape[1] == 0 or min(len(train.values), len(other.values)) < 2 * _FOLDS:
        return dict.fromkeys(("auc", "interval", "p_value", "features", "differing"))
    parts = [part.values[examples.chosen(len(part.values), _EXAMPLES, generator)] for part in (train, other)]
    rows = train._replace(values=np.concatenate(parts))
    is_other = np.arange(len(rows.values)) >= len(parts[0])
    distances = _distances(*parts)
    p_values = kolmogorov(np.sqrt(len(parts[0]) * len(parts[1]) / len(rows.values)) * distances)
    differing, simes = _discoveries(p_values)
    auc, spread, permuted = _told_apart(rows, is_other, permutations, generator)
    farthest = differing[np.argsort(-distances[differing], kind="stable")][:_SHOWN]
    return {
        "auc": auc,
        "interval": [max(auc - 1.96 * spread, 0.0), min(auc + 1.96 * spread, 1.0)],
        "p_value": min(2 * min(simes, permuted), 1.0),
        "features": [[rows.names[place], float(distances[place])] for place in farthest],
        "differing": len(differing),
    }


def _told_apart(
    rows: examples.Rows, is_other: np.ndarray, permutations: int, generator: np.random.Generator
) -> tuple[float, float, float]:
    """AUC of held-out scores, its deviation without a shift, and the p-value of the permutations."""
    values = examples.standardized(rows)
    folds = generator.permutation(len(values)) % _FOLDS
    labels = np.stack([is_other, *(generator.permutation(is_other) for _ in range(permutations))], axis=1)
    scores = kernels.held_out(_kernel(values), labels - is_other.mean(), _RIDGE, folds)
    aucs = _aucs(scores, labels, folds)
    return float(aucs[0]), float(aucs[1:].std()), float((aucs >= aucs[0]).mean())


def _kernel(values: np.ndarray) -> np.ndarray:
    """Of what differs in the means, in the spreads, or jointly."""
    width = values.shape[1]
    squares = np.abs(values)
    squares -= squares.mean(axis=0)
    joint = kernels.gaussian(kernels.squared_distances(values, values))
    return (values @ values.T + squares @ squares.T) / width + joint


def _aucs(scores: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Of each column of scores the share of pairs of one fold, one of each kind, in the right order.

    Pairs of two folds are left out: a fold with more of a kind leaves fewer of it to learn from.
    """
    right, pairs = np.zeros(labels.shape[1]), np.zeros(labels.shape[1])
    for fold in range(_FOLDS):
        own = labels[folds == fold]
        order = np.argsort(scores[folds == fold], axis=0)
        ranks = np.arange(1, len(own) + 1)[:, None]
        ones = own.sum(axis=0)
        right += (np.take_along_axis(own, order, axis=0) * ranks).sum(axis=0) - ones * (ones + 1) / 2
        pairs += ones * (len(own) - ones)
    return right / pairs


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Largest difference of the distribution functions, of each column (Kolmogorov-Smirnov)."""
    both = np.concatenate([first, second])
    order = np.argsort(both, axis=0)
    steps = np.where(order < len(first), 1 / len(first), -1 / len(second))
    ordered = np.take_along_axis(both, order, axis=0)
    # Between equal values there is no step to look at.
    ends = np.concatenate([ordered[1:] > ordered[:-1], np.ones((1, both.shape[1]), bool)])
    return np.where(ends, np.abs(np.cumsum(steps, axis=0)), 0).max(axis=0)


def _discoveries(p_values: np.ndarray) -> tuple[np.ndarray, float]:
    """Places that differ at a false discovery rate of 1 %, and the p-value of none differing."""
    order = np.argsort(p_values, kind="stable")
    adjusted = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    below = np.flatnonzero(adjusted <= _LEVEL)
    return order[: below[-1] + 1 if len(below) else 0], float(adjusted.min())


def _of_labels(first: np.ndarray, second: np.ndarray) -> float | None:
    if min(len(first), len(second)) < 2 * _FOLDS:
        return None
    if first.dtype.kind == "f":
        distances = _distances(*(part.reshape(len(part), -1) for part in (first, second)))
        p_values = kolmogorov(np.sqrt(len(first) * len(second) / (len(first) + len(second))) * distances)
        return min(float(p_values.min()) * len(p_values), 1.0)
    classes = 1 + int(max(first.max(), second.max()))
    counts = np.stack([np.bincount(part.ravel().astype(int), minlength=classes) for part in (first, second)])
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    # Classes too rare for the distribution count as one.
    rare = expected.min(axis=0) < 5
    counts, expected = (
        np.concatenate([part[:, ~rare], part[:, rare].sum(axis=1, keepdims=True)], axis=1)
        for part in (counts, expected)
    )
    there = expected.sum(axis=0) > 0
    statistic = (np.square(counts - expected)[:, there] / expected[:, there]).sum()
    return float(chdtrc(there.sum() - 1, statistic)) if there.sum() > 1 else 1.0
