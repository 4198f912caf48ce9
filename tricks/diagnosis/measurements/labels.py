"""Whether the labels are balanced, and whether they are right."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tricks import streams
from tricks.diagnosis.measurements import examples, kernels
from tricks.diagnosis.measurements.examples import Splits

_QUERIES = 2000
_REFERENCES = 10_000
_NEIGHBOURS = 10
_FOLDS = 5
_RIDGES = (0.03, 0.3, 3.0, 30.0)
_PARTS = 6  # Of the examples in order of confidence.
_FEWEST = 50  # Examples that a share is read off.


def quality(
    splits: Splits,
    *,
    classes: int | None = None,
    predictions: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures balance of classes and wrong labels.

    A label that its neighbours do not have may be wrong, or lie where classes overlap. What tells them apart is
    confidence: where classes are told apart surely, labels disagree with held-out predictions only if they are wrong.
    `estimated_noise` is that disagreement among the third of each predicted class that a kernel regression, fitted to
    other examples, is surest of; or a half of them, and so on, as long as the surer half disagrees the less. This is
    confident learning with predictions ranked in place of a threshold. Where disagreement goes on falling with
    confidence it may well fall to nothing: the lower end of `noise_interval` is that of where it goes to on a line.

    It cannot tell labels drawn wrong everywhere from classes that overlap everywhere alike, misses wrong labels that
    lie only where classes meet, and duplicates that share a wrong label. With features that tell nothing of the labels
    it is None.

    Args:
        splits: `train`, and those of `validation` and `test` that there are: (features, targets).
        classes: how many there are; None to count them.
        predictions: for held-out splits the probabilities (n, classes) that a trained network gives, to look at their
            labels too.
        seed: of the samples and folds.

    Returns:
        Of classes `counts`, `rarest_share`, `imbalance_ratio`, `missing` classes of each split;
        `neighbour_disagreement` (mean share of the nearest `neighbours` with another class, with its `interval`),
        `expected_disagreement` (if features told nothing), `held_out_disagreement`, `estimated_noise` with
        `noise_interval`, `disagreement_by_confidence` (of sixths, surest first), `held_out` of the predictions. Of
        numbers `explained` (1 - mean squared error / variance, held out) and `outlier_share` (errors beyond 5 robust
        standard deviations).

    Source: Northcutt, Jiang, Chuang, arXiv:1911.00068; neighbours: Cover, Hart 1967.

    >>> two = np.random.default_rng(0).normal(size=(400, 2)) + 4 * (np.arange(400) % 2)[:, None]
    >>> right = quality({"train": (two, np.arange(400) % 2)})
    >>> wrong = quality({"train": (two, np.arange(400) % 2 ^ (np.arange(400) % 5 == 0))})
    >>> right["estimated_noise"] < 0.01, 0.15 < wrong["estimated_noise"] < 0.25
    (True, True)
    """
    features, targets = splits["train"]
    targets = np.asarray(targets)
    generator = streams.sample(seed, "labels")
    rows = examples.rows_of(features)
    is_class = targets.dtype.kind in "iub"
    judged = rows.values.shape[1] > 0 and len(targets) >= 2 * _FEWEST and (targets.ndim == 1 or not is_class)
    if not is_class:
        return _of_numbers(rows, targets, generator) if judged else {"explained": None, "outlier_share": None}
    counted = {name: np.asarray(part[1]).ravel() for name, part in splits.items()}
    if classes is None:
        classes = 1 + max(int(part.max(initial=0)) for part in counted.values())
    measured = _balance(counted, classes)
    measured |= _disagreements(rows, targets, classes, generator) if judged else dict.fromkeys(_OF_CLASSES)
    of_network = {
        name: _confident(np.asarray(given), np.asarray(splits[name][1])) for name, given in (predictions or {}).items()
    }
    return measured | {"held_out": of_network}


_OF_CLASSES = (
    "neighbours",
    "neighbour_disagreement",
    "interval",
    "expected_disagreement",
    "held_out_disagreement",
    "estimated_noise",
    "noise_interval",
    "disagreement_by_confidence",
)


def _balance(targets: Mapping[str, np.ndarray], classes: int) -> dict[str, Any]:
    counts = {name: np.bincount(part.astype(int), minlength=classes) for name, part in targets.items()}
    train = counts["train"]
    return {
        "classes": classes,
        "counts": {str(label): int(count) for label, count in enumerate(train)},
        "rarest_share": float(train.min() / train.sum()),
        "imbalance_ratio": float(train.max() / train.min()) if train.min() else None,
        "missing": {name: np.flatnonzero(part == 0).tolist() for name, part in counts.items()},
    }


def _disagreements(
    rows: examples.Rows, targets: np.ndarray, classes: int, generator: np.random.Generator
) -> dict[str, Any]:
    places = examples.chosen(len(targets), _REFERENCES, generator)
    rows, targets = examples.take(rows, places), targets[places].astype(int)
    values = examples.standardized(rows)
    queries = examples.chosen(len(targets), _QUERIES, generator)
    distances = kernels.squared_distances(values[queries], values)
    others = _of_neighbours(distances, queries, targets)
    shares = np.bincount(targets, minlength=classes) / len(targets)
    folds = generator.permutation(len(queries)) % _FOLDS
    probabilities = _predicted(kernels.gaussian(distances[:, queries]), np.eye(classes)[targets[queries]], folds)
    measured = _confident(probabilities, targets[queries])
    if not _tells(probabilities, targets[queries], shares):
        measured |= {"estimated_noise": None, "noise_interval": None}
    return {
        "neighbours": _NEIGHBOURS,
        "neighbour_disagreement": float(others.mean()),
        "interval": examples.around(others),
        "expected_disagreement": float(1 - np.square(shares).sum()),
        "held_out_disagreement": measured.pop("disagreement"),
    } | measured


def _of_neighbours(distances: np.ndarray, queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Share of each query's nearest others that have another class."""
    own = distances[np.arange(len(queries)), queries].copy()
    distances[np.arange(len(queries)), queries] = np.inf
    nearest = np.argpartition(distances, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    distances[np.arange(len(queries)), queries] = own
    return (targets[nearest] != targets[queries, None]).mean(axis=1)


def _predicted(kernel: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Held-out predictions with the ridge that predicts best."""
    best, smallest = targets, np.inf
    for ridge in _RIDGES:
        predictions = kernels.held_out(kernel, targets, ridge, folds)
        error = float(np.square(predictions - targets).sum(axis=1).mean())
        if error >= smallest:
            break
        best, smallest = predictions, error
    return best


def _tells(probabilities: np.ndarray, targets: np.ndarray, shares: np.ndarray) -> bool:
    """Whether predictions from the features vary with the labels, at three standard errors."""
    along = ((probabilities - probabilities.mean(axis=0)) * (np.eye(len(shares))[targets] - shares)).sum(axis=1)
    return bool(along.mean() > 3 * along.std() / len(along) ** 0.5)


def _confident(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Disagreement of labels with predictions, of all and where they are sure."""
    predicted = probabilities.argmax(axis=1)
    ordered = np.partition(probabilities, -2, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    wrong = predicted != targets
    # The share of those predicted alike that are at least as sure: all classes are among the surest.
    rank = np.empty(len(targets))
    for label in np.unique(predicted):
        own = np.flatnonzero(predicted == label)
        rank[own[np.argsort(-margin[own], kind="stable")]] = (np.arange(len(own)) + 0.5) / len(own)
    surest = wrong[np.argsort(rank, kind="stable")]
    kept = max(len(surest) // 3, min(_FEWEST, len(surest)))
    while kept >= 2 * _FEWEST and _is_lower(surest[: kept // 2], surest[kept // 2 : kept]):
        kept //= 2
    low, high = examples.wilson(int(surest[:kept].sum()), kept)
    return {
        "disagreement": float(wrong.mean()),
        "estimated_noise": float(surest[:kept].mean()),
        "noise_interval": [min(low, _where_sure(surest[: 2 * len(surest) // 3])), high],
        "disagreement_by_confidence": [float(part.mean()) for part in np.array_split(surest, _PARTS) if len(part)],
    }


def _where_sure(wrong: np.ndarray) -> float:
    """Lower end of 95 % of the disagreement that a line through that of less and less sure ones begins with."""
    if len(wrong) < 3:
        return 0.0
    place = (np.arange(len(wrong)) + 0.5) / len(wrong)
    slope, start = np.polyfit(place, wrong, 1)
    error = 2 * float(np.std(wrong - slope * place)) / len(wrong) ** 0.5
    return max(float(start) - examples.Z * error, 0.0)


def _is_lower(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether one share is below another, at 5 % of one side."""
    both = np.concatenate([first, second]).mean()
    error = (both * (1 - both) * (1 / len(first) + 1 / len(second))) ** 0.5
    return bool(second.mean() - first.mean() > 1.645 * error)


def _of_numbers(rows: examples.Rows, targets: np.ndarray, generator: np.random.Generator) -> dict[str, Any]:
    places = examples.chosen(len(targets), _QUERIES, generator)
    rows, targets = examples.take(rows, places), targets[places].reshape(len(places), -1).astype(np.float64)
    centred = targets - targets.mean(axis=0)
    varying = centred.std(axis=0) > 0
    if not varying.any():
        return {"explained": None, "outlier_share": None}
    centred = centred[:, varying] / centred[:, varying].std(axis=0)
    values = examples.standardized(rows)
    folds = generator.permutation(len(places)) % _FOLDS
    errors = centred - _predicted(kernels.gaussian(kernels.squared_distances(values, values)), centred, folds)
    errors = errors - np.median(errors, axis=0)
    spread = 1.4826 * np.median(np.abs(errors), axis=0)
    outliers = (np.abs(errors) > 5 * np.maximum(spread, 1e-6)).any(axis=1)
    return {
        "explained": float(1 - np.square(errors).mean()),
        "outlier_share": float(outliers.mean()),
        "interval": examples.wilson(int(outliers.sum()), len(outliers)),
        "estimated_noise": None,
    }
