"""The one interface to every data set, and how its parts are made."""

from typing import NamedTuple

import numpy as np

from tricks import streams
from tricks.data import bundled, prepared
from tricks.data.raw import Raw
from tricks.errors import UserError

# Test examples are set apart with a seed of their own, so that runs with different seeds are tested on the same ones.
_TEST_SEED = 0
_TEST_FRACTION = 0.2


class Split(NamedTuple):
    """Examples on the host: features (n, features) float32; targets (n,) int32 classes, or float32 numbers."""

    features: np.ndarray
    targets: np.ndarray


class Dataset(NamedTuple):
    """A data set ready for training."""

    name: str
    classes: int | None
    """Number of classes; None for a regression."""
    train: Split
    validation: Split
    test: Split
    feature_mean: np.ndarray
    """(features,), of the training part."""
    feature_scale: np.ndarray
    """(features,), what the centred features were divided by."""


def load(name: str, *, validation_fraction: float = 0.1, seed: int = 0, directory: str = "") -> Dataset:
    """Loads a data set by its name.

    Features are flattened and normalized per dimension, x~ = (x - m) / s, with mean and standard deviation of the
    training part only. Of images, the deviation of a pixel is not taken below the root mean square over all pixels:
    those at the border, hardly ever inked, would otherwise be amplified without bound. Targets of a regression are
    standardized by the training part too, so that a mean squared error of 1 is that of predicting the mean.

    Args:
        name: `digits`, `breast_cancer`, `diabetes` (bundled with scikit-learn), or a prepared classification set of
            TensorFlow Datasets.
        validation_fraction: share of the training examples held out for validation.
        seed: draws the validation examples.
        directory: where prepared sets lie; empty for `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

    Returns:
        The three splits. A set without a test split of its own gives a fifth of its examples, always the same.

    Raises:
        UserError: the set is unknown, not prepared or no classification, or a split would be empty.

    >>> digits = load("digits")
    >>> digits.train.features.shape, digits.validation.features.shape, digits.test.features.shape
    ((1294, 64), (144, 64), (359, 64))
    """
    raw = bundled.read(name) if name in bundled.NAMES else prepared.read(name, directory)
    features = raw.features.reshape(len(raw.features), -1)
    if raw.test_features is None or raw.test_targets is None:
        rest, held_out = _carve(name, len(features), _TEST_FRACTION, _TEST_SEED)
        test = (features[held_out], raw.targets[held_out])
        features, targets = features[rest], raw.targets[rest]
    else:
        test = (raw.test_features.reshape(len(raw.test_features), -1), raw.test_targets)
        targets = raw.targets
    train, validation = _carve(name, len(features), validation_fraction, seed)
    parts = ((features[train], targets[train]), (features[validation], targets[validation]), test)
    return _normalized(name, raw, parts)


def _carve(name: str, examples: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    held_out = round(examples * fraction)
    if not 0 < held_out < examples:
        raise UserError(
            f"data.validation_fraction is {fraction:g}; of the {examples} training examples of {name!r} "
            f"it would hold out {held_out}: choose one that leaves examples on both sides"
        )
    order = streams.split(seed).permutation(examples)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _normalized(name: str, raw: Raw, parts: tuple[tuple[np.ndarray, np.ndarray], ...]) -> Dataset:
    mean, scale = _mean_and_scale(parts[0][0], raw.pixels)
    target_mean, target_scale = (0.0, 1.0) if raw.classes else _mean_and_deviation(parts[0][1])
    splits = []
    for features, targets in parts:
        # In place, because a float32 copy of an image set is large.
        normalized = features.astype(np.float32)
        normalized -= mean
        normalized /= scale
        if raw.classes:
            splits.append(Split(normalized, targets.astype(np.int32)))
        else:
            splits.append(Split(normalized, ((targets - target_mean) / target_scale).astype(np.float32)))
    return Dataset(name, raw.classes, splits[0], splits[1], splits[2], mean, scale)


def _mean_and_scale(features: np.ndarray, pixels: bool) -> tuple[np.ndarray, np.ndarray]:
    count, total, squares = len(features), 0.0, 0.0
    shift = features[:1].astype(np.float64)
    for start in range(0, count, 4096):
        block = features[start : start + 4096] - shift
        total = total + block.sum(axis=0)
        squares = squares + np.square(block).sum(axis=0)
    mean = np.asarray(total) / count
    variance = np.maximum(np.asarray(squares) / count - mean**2, 0.0)
    scale = np.sqrt(np.maximum(variance, variance.mean()) if pixels else variance)
    scale[scale == 0] = 1.0
    return (mean + shift[0]).astype(np.float32), scale.astype(np.float32)


def _mean_and_deviation(targets: np.ndarray) -> tuple[float, float]:
    return float(targets.mean()), float(targets.std()) or 1.0
