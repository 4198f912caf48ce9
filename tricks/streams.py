"""Random streams by name: what is drawn from one never depends on, nor repeats, what is drawn from another.

With one exception: `split(seed)` and `order(seed, 0)` begin alike, as they always have, so that a seed goes on meaning
the same run. The first orders all examples, the second those that it left for training.

| stream | of | drawn by |
| --- | --- | --- |
| order | the examples of epoch e, or its blocks of them | `order(seed, e)` |
| window | the examples of window w of epoch e | `window(seed, e, w)` |
| split | the examples that are held out for validation, or for the test | `split(seed)` |
| settings | the random settings of a sweep | `settings(seed)` |
| label noise | the training examples whose class is another one | `label_noise(seed)` |
| training subset | the training examples that are used, where not all are | `training_subset(seed)` |
| sample of a measure: curvature, labels and so on | the examples looked at | `sample(seed, name)` |
| initialization, dropout | weights; masks of step t by fold_in(key, t) | `training_keys(key)` |
| augmentation | changes of the examples of a step, from its key | `augmentation(key)` |
| curvature probes, escape starts | random vectors | `vectors(seed, name)` |
"""

from typing import NamedTuple

import jax
import numpy as np

__all__ = [
    "TrainingKeys",
    "augmentation",
    "label_noise",
    "order",
    "sample",
    "settings",
    "split",
    "training_keys",
    "training_subset",
    "vectors",
    "window",
]

# Never renumbered: runs that are resumed draw on.
# Not 0 and 1, which the keys of training have.
_MEASURES = {
    "curvature": 11,
    "escape": 12,
    "spectrum": 13,
    "features": 14,
    "labels": 15,
    "duplicates": 16,
    "shift": 17,
    "diagnosis": 18,
}
_TRAINING_SUBSET = 21
_LABEL_NOISE = 22
_WINDOW = 23
_SETTINGS = 31


class TrainingKeys(NamedTuple):
    """JAX random keys of one training."""

    initialization: jax.Array
    dropout: jax.Array


def order(seed: int, epoch: int) -> np.random.Generator:
    """Of the order in which an epoch goes through the examples.

    Args:
        seed: of the run.
        epoch: from 0.

    Returns:
        A generator at its start.

    >>> bool((order(0, 1).permutation(9) == order(0, 2).permutation(9)).all())
    False
    """
    return np.random.default_rng((seed, epoch))


def window(seed: int, epoch: int, number: int) -> np.random.Generator:
    """Of the order of the examples within a window of an epoch, where they are on disk.

    Args:
        seed: of the run.
        epoch: from 0.
        number: of the window, from 0.

    Returns:
        A generator at its start.

    >>> bool((window(0, 1, 2).permutation(9) == window(0, 2, 1).permutation(9)).all())
    False
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_WINDOW, epoch, number)))


def split(seed: int) -> np.random.Generator:
    """Of the examples that are held out: those for validation by the seed of the run, those for the test by one of
    their own, so that all runs are tested on the same ones.

    Args:
        seed: of the draw.

    Returns:
        A generator at its start.
    """
    return np.random.default_rng(seed)


def training_subset(seed: int) -> np.random.Generator:
    """Of the training examples that are used where only a share of them is: the first of one order, so that a smaller
    share is a part of a larger one.

    Args:
        seed: of the run.

    Returns:
        A generator at its start.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_TRAINING_SUBSET,)))


def label_noise(seed: int) -> np.random.Generator:
    """Of the training examples whose class is replaced, the first of one order, and of what replaces it: a smaller
    share is a part of a larger one.

    Args:
        seed: of the run.

    Returns:
        A generator at its start.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_LABEL_NOISE,)))


def settings(seed: int) -> np.random.Generator:
    """Of the settings that a sweep tries at random.

    Args:
        seed: of the sweep's config.

    Returns:
        A generator at its start.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SETTINGS,)))


def sample(seed: int, name: str) -> np.random.Generator:
    """Of the examples that something is measured on.

    Args:
        seed: of the run.
        name: `curvature`, `escape`, `spectrum`, `features`, `labels`, `duplicates`, `shift` or `diagnosis`.

    Returns:
        A generator at its start.

    >>> first = sample(0, "curvature").permutation(99)
    >>> any((first == order(0, epoch).permutation(99)).all() for epoch in range(50))
    False
    """
    # A spawn key is mixed in apart from the seed's own numbers, so that no (seed, epoch) comes to the same.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_MEASURES[name],)))


def training_keys(key: jax.Array) -> TrainingKeys:
    """Of the initial weights, and of dropout.

    Args:
        key: of the run, from its seed.

    Returns:
        Two keys.
    """
    return TrainingKeys(*jax.random.split(key))


def augmentation(key: jax.Array) -> jax.Array:
    """Of the changes of a step's examples.

    Args:
        key: of the step, whose masks are drawn by fold_in(key, place) with small places.

    Returns:
        A key of its own.
    """
    return jax.random.fold_in(key, 2**31 - 1)


def vectors(seed: int | jax.Array, name: str) -> jax.Array:
    """Of the random vectors that curvature is looked at with.

    Args:
        seed: of the run.
        name: `curvature`, `escape`, `spectrum` or `diagnosis`.

    Returns:
        A JAX random key.
    """
    return jax.random.fold_in(jax.random.key(seed), _MEASURES[name])
