"""Samples of examples to measure something on."""

from collections.abc import Sequence

import jax
import numpy as np

from tricks.data.dataset import Split


def count(split: Split) -> int:
    """Number of examples.

    >>> count(Split({"length": np.ones(3), "image": np.ones((3, 8, 8, 1))}, np.arange(3)))
    3
    """
    return len(split.targets)


def take(split: Split, rows: np.ndarray) -> Split:
    """Some examples of a split.

    Args:
        split: the examples.
        rows: which, by their places.

    Returns:
        Copies of them.

    >>> take(Split(np.eye(3), np.arange(3)), np.array([2])).targets.tolist()
    [2]
    """
    return Split(jax.tree.map(lambda array: array[rows], split.features), split.targets[rows])


def draw(split: Split, counts: Sequence[int], generator: np.random.Generator) -> list[Split]:
    """Disjoint samples, each in the order of the split.

    Args:
        split: what is drawn from.
        counts: examples in each sample; as far as there are any left.
        generator: of the random numbers, as `tricks.streams.sample` gives it.

    Returns:
        A sample for each count.

    >>> one, two = draw(Split(np.eye(5), np.arange(5)), (2, 3), np.random.default_rng(0))
    >>> sorted([*one.targets.tolist(), *two.targets.tolist()])
    [0, 1, 2, 3, 4]
    """
    order = generator.permutation(count(split))
    parts = np.split(order, np.cumsum(counts))[: len(counts)]
    return [take(split, np.sort(part)) for part in parts]
