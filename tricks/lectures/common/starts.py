"""What many trainings of a small network begin with: weights and batches by seed, and when a loss comes down."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from tricks import data, streams
from tricks.data import Split
from tricks.models import Network
from tricks.training.feed import make_mesh
from tricks.training.programs import run_once


def weights(network: Network, seeds: Sequence[int]) -> Any:
    """Initial parameters and states.

    Args:
        network: any.
        seeds: one for each.

    Returns:
        What `network.init` gives, with a first dimension of seeds.

    >>> from tricks.models import multilayer_perceptron
    >>> params, _ = weights(multilayer_perceptron(input_size=3, output_size=2, hidden_sizes=()), [0, 1])
    >>> params["linear_0"]["bias"].shape
    (2, 2)
    """
    keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
    return jax.jit(jax.vmap(network.init), compiler_options=run_once(make_mesh()))(keys)


def batches(seeds: Sequence[int], examples: int, size: int, updates: int) -> np.ndarray:
    """The examples of each update: every one once before any comes again.

    Args:
        seeds: one for each training.
        examples: how many there are.
        size: of a batch.
        updates: of a training.

    Returns:
        Places of examples, (seeds, updates, size).

    >>> sorted(batches([0], 6, 3, 2)[0].ravel().tolist())
    [0, 1, 2, 3, 4, 5]
    """
    steps = examples // size
    epochs = range(-(-updates // steps))

    def of_seed(seed: int) -> np.ndarray:
        orders = [streams.order(seed, epoch).permutation(examples)[: steps * size] for epoch in epochs]
        return np.concatenate(orders).reshape(-1, size)[:updates]

    return np.stack([of_seed(seed) for seed in seeds]).astype(np.int32)


def flat(split: Split, count: int) -> Split:
    """The first examples of a split, each as one vector.

    >>> flat(Split(np.ones((5, 2, 2, 1)), np.zeros(5)), 3).features.shape
    (3, 4)
    """
    first = data.take(split, np.arange(min(count, data.count(split))))
    return first._replace(features=first.features.reshape(len(first.targets), -1))


def updates_to(losses: Any, level: float, window: int) -> int | None:
    """When a loss has come down: the first update whose mean over the last ones is a level or less.

    Args:
        losses: of each update; what is not finite is above every level.
        level: of the mean.
        window: updates that it is over.

    Returns:
        The number of updates, from 1; None where it never is.

    >>> updates_to([4.0, 2.0, 2.0, 0.0], 2.0, 2), updates_to([4.0, 2.0], 2.0, 2)
    (3, None)
    """
    values = np.where(np.isfinite(losses), losses, np.inf)
    if len(values) < window:
        return None
    means = np.lib.stride_tricks.sliding_window_view(values, window).mean(-1)
    found = np.flatnonzero(means <= level)
    return int(found[0]) + window if len(found) else None
