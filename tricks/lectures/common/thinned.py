"""Networks with units dropped, alone and averaged."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.data import Split
from tricks.models import Apply
from tricks.training.state import Weights


class Measured(NamedTuple):
    """Over examples, or a list of each."""

    error: Any
    """Share of wrong answers in %."""
    loss: Any
    """Mean of -ln p of the right class."""


def measured(probabilities: jax.Array, targets: jax.Array) -> Measured:
    """Error and loss of probabilities.

    Args:
        probabilities: (examples, classes).
        targets: (examples,) classes.

    Returns:
        Two scalars.

    >>> error, loss = measured(jnp.array([[0.5, 0.5], [0.25, 0.75]]), jnp.array([1, 1]))
    >>> float(error), round(float(loss), 4)
    (50.0, 0.4904)
    """
    wrong = 100 * jnp.mean(jnp.argmax(probabilities, -1) != targets)
    right = jnp.take_along_axis(probabilities, targets[:, None], -1)
    return Measured(wrong, -jnp.mean(jnp.log(jnp.maximum(right, jnp.finfo(right.dtype).tiny))))


def whole(apply: Apply, weights: Weights, split: Split, *, most: int) -> Measured:
    """A network with all its units, whose weights are scaled.

    Args:
        apply: of the network.
        weights: of it.
        split: examples.
        most: how many of them are taken, the first ones.

    Returns:
        Two numbers.
    """
    outputs, _ = jax.jit(apply)(weights.params, weights.model_state, split.features[:most])
    return Measured(*map(float, measured(jax.nn.softmax(outputs), jnp.asarray(split.targets[:most]))))


def sampled(apply: Apply, weights: Weights, split: Split, keys: jax.Array) -> tuple[Measured, Measured]:
    """Sampled networks, and averages of their probabilities.

    Args:
        apply: of a network with dropout.
        weights: of it.
        split: examples.
        keys: (networks,); what a network drops by its key, it drops for all examples.

    Returns:
        Of each network alone, and of the average of the first 1, 2, ... of them, as lists.
    """

    @jax.jit
    def run(weights: Weights, x: Any, targets: jax.Array, keys: jax.Array) -> tuple[Measured, Measured]:
        def of_row(row: Any, key: jax.Array) -> jax.Array:
            return apply(weights.params, weights.model_state, row[None], rng=key)[0][0]

        def add(total: jax.Array, numbered: Any) -> tuple[jax.Array, tuple[Measured, Measured]]:
            number, key = numbered
            # Row by row under vmap, a mask is drawn once; of a batch it would be another for each row.
            alone = jax.nn.softmax(jax.vmap(of_row, in_axes=(0, None))(x, key))
            return total + alone, (measured(alone, targets), measured((total + alone) / number, targets))

        none = jnp.zeros_like(jax.vmap(of_row, in_axes=(0, None))(x, keys[0]))
        return jax.lax.scan(add, none, (jnp.arange(1, len(keys) + 1), keys))[1]

    found = run(weights, jnp.asarray(split.features), jnp.asarray(split.targets), keys)
    alone, average = (Measured(*(np.asarray(v, np.float64).tolist() for v in one)) for one in found)
    return alone, average


def networks_to_match(errors: Sequence[float], scaled: float) -> int | None:
    """How many networks it takes for the error of their average to be no larger than that of weight scaling.

    Args:
        errors: of the averages of 1, 2, ... networks.
        scaled: the error of weight scaling.

    Returns:
        The least number; None if there is none.

    >>> networks_to_match([3.0, 2.0, 1.5], 2.2)
    2
    """
    return next((number for number, error in enumerate(errors, 1) if error <= scaled), None)
