"""The variance of the gradients of batches: of means of single examples' gradients, and as training computes them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks.data import Split
from tricks.losses import Batch, cross_entropy, mean_loss
from tricks.models import Network


def variances_of_means(
    gradients: Any, sizes: Sequence[int], draws: int, generator: np.random.Generator, *, replaced: bool
) -> list[float]:
    """Mean squared distance of the mean gradient of a batch from that of all examples, for each batch size.

    Args:
        gradients: (examples, parameters), of single examples.
        sizes: of the batches.
        draws: batches of each size.
        generator: of the draws.
        replaced: whether an example may be drawn more than once for a batch.

    Returns:
        For each size its variance, summed over parameters.

    >>> one = variances_of_means(np.array([[1.0], [-1.0]]), [2], 10, np.random.default_rng(0), replaced=False)
    >>> one
    [0.0]
    """
    count = len(gradients)
    centred = gradients - gradients.mean(0, keepdims=True)
    # Of deviation = weights @ centred, squared: a product of examples by examples once, for all draws.
    products = np.asarray(centred @ centred.T, np.float64)
    found = []
    for size in sizes:
        if replaced:
            rows = generator.integers(count, size=(draws, size))
        else:
            rows = np.argsort(generator.random((draws, count)), axis=1)[:, :size]
        weights = np.zeros((draws, count))
        np.add.at(weights, (np.arange(draws)[:, None], rows), 1 / size)
        found.append(float(np.mean(np.sum((weights @ products) * weights, axis=1))))
    return found


def variances_of_batches(
    gradients_of: Callable[[np.ndarray], Any],
    examples: int,
    sizes: Sequence[int],
    draws: int,
    generator: np.random.Generator,
) -> list[float]:
    """The variance of the gradient of a batch that is drawn without replacement, for each batch size.

    It is divided by (N - B) / (N - 1), which N examples leave of the variance of a mean of B, so that it is the one of
    a set without end as far as the gradient is such a mean.

    Args:
        gradients_of: `gradients_of(rows)` gives pytrees whose first dimension counts the draws, for the places of
            their examples, (draws, size).
        examples: N, how many there are.
        sizes: of the batches, below N.
        draws: batches of each size, 2 or more.
        generator: of the draws.

    Returns:
        For each size its variance, summed over parameters.

    >>> variances_of_batches(lambda rows: np.array([1.0, 3.0]), 4, [1, 2], 2, np.random.default_rng(0))
    [2.0, 3.0]
    """
    found = []
    for size in sizes:
        rows = np.stack([generator.choice(examples, size, replace=False) for _ in range(draws)])
        found.append(spread(gradients_of(rows)) * (examples - 1) / (examples - size))
    return found


def spread(gradients: Any) -> float:
    """The variance over draws, without bias, summed over parameters.

    Args:
        gradients: pytree of arrays whose first dimension counts the draws, 2 or more.

    Returns:
        The sum of squared distances from the mean of the draws, over the draws less one.

    >>> spread({"kernel": np.array([[0.0, 0.0], [2.0, 2.0]]), "bias": np.array([1.0, 2.0])})
    4.5
    """

    def squared(leaf: Any) -> float:
        centred = np.asarray(leaf) - np.mean(leaf, axis=0, keepdims=True)
        return float(np.sum(np.square(centred, dtype=np.float64))) / (len(leaf) - 1)

    return sum(squared(leaf) for leaf in jax.tree.leaves(gradients))


def as_training(network: Network, examples: Split, rate: float) -> tuple[Any, Any]:
    """What a network's training does with batches: their gradients, and descent along them.

    Args:
        network: a training may take statistics of the batch, so that its gradient is no mean over examples.
        examples: of which batches are drawn.
        rate: of the descent.

    Returns:
        `gradients(params, state, rows)` of each batch of rows, (batches, size), at the same weights, and
        `descend(params, state, rows)`, the weights and the state after an update by each.
    """
    # A key means training; there is no dropout here for which it would matter which key.
    key, slope_of = jax.random.key(0), jax.grad(mean_loss(network.apply, cross_entropy), has_aux=True)
    every = Batch(jnp.asarray(examples.features), jnp.asarray(examples.targets))

    # All examples are an argument, since a program takes long to compile with so large a constant.
    @jax.jit
    def of_batches(every: Batch, params: Any, state: Any, rows: jax.Array) -> Any:
        def of_batch(one: jax.Array) -> Any:
            return slope_of(params, state, jax.tree.map(lambda a: a[one], every), key)[0]

        return jax.lax.map(of_batch, rows)

    @jax.jit
    def after(every: Batch, params: Any, state: Any, rows: jax.Array) -> Any:
        def update(carry: Any, one: jax.Array) -> tuple[Any, None]:
            params, state = carry
            slope, (state, _) = slope_of(params, state, jax.tree.map(lambda a: a[one], every), key)
            return (jax.tree.map(lambda w, g: w - rate * g, params, slope), state), None

        return jax.lax.scan(update, (params, state), rows)[0]

    return functools.partial(of_batches, every), functools.partial(after, every)
