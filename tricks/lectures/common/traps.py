"""Points from which momentum does not get away, as losses of one vector."""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks import data, losses, models
from tricks.lectures.common.small_networks import Examples, small


class Sample(NamedTuple):
    """Disjoint examples: to train on, to check curvature on, to confirm it on, and to test on."""

    train: Examples
    checked: Examples
    held_out: Examples
    test: Examples


class Traps(NamedTuple):
    """Starts that share a loss; every function takes the `shared` arrays first."""

    kinds: dict[str, float]
    """The loss below which each is left; NaN for a start that is no trap."""
    start: Callable[[jax.Array, jax.Array], jax.Array]
    """`start(key, kind) -> w`, kind being the place in `kinds`; -1 is where training would begin without a trap."""
    step_loss: Callable[..., jax.Array]
    """`step_loss(*shared, w, key)`, on a batch of its own where there are batches."""
    checked_loss: Callable[..., jax.Array]
    """`checked_loss(*shared, w)`."""
    held_out_loss: Callable[..., jax.Array] | None
    test_loss: Callable[..., jax.Array]
    rate: float
    cost: float
    """Of a gradient of the checked loss, in gradients of a step."""
    shared: tuple[Any, ...] = ()


def image_network(name: str, hidden: int, batch: int, count: int) -> Traps:
    """One hidden layer of tanh units on images: identical units, zero weights, and usual weights.

    Args:
        name: `mnist` or `digits`.
        hidden: units.
        batch: examples of a step.
        count: training examples at most.

    Returns:
        Three kinds of starts.

    >>> list(image_network("digits", 4, 32, 500).kinds)
    ['identical units', 'zero weights', 'usual weights']
    """
    sample = _sample(name, count)
    networks = [
        small(
            models.multilayer_perceptron(
                input_size=sample.train.features.shape[1],
                output_size=10,
                hidden_sizes=(hidden,),
                activation="tanh",
                initializer=initializer,
            ),
            losses.cross_entropy,
        )
        for initializer in ("identical", "zeros", "he")
    ]
    loss = networks[0].loss

    def step_loss(sample: Sample, w: jax.Array, key: jax.Array) -> jax.Array:
        rows = jax.random.randint(key, (batch,), 0, len(sample.train.targets))
        return loss(w, Examples(sample.train.features[rows], sample.train.targets[rows]))

    return Traps(
        # What one unit can do, from a look at where identical ones stay.
        {"identical units": 1.3 if name == "mnist" else 1.15, "zero weights": 2.2, "usual weights": math.nan},
        lambda key, kind: jnp.stack([network.start(key) for network in networks])[kind],
        step_loss,
        lambda sample, w: loss(w, sample.checked),
        lambda sample, w: loss(w, sample.held_out),
        lambda sample, w: loss(w, sample.test),
        rate=0.1,
        cost=len(sample.checked.targets) / batch,
        shared=(jax.tree.map(jnp.asarray, sample),),
    )


def _sample(name: str, count: int) -> Sample:
    found = data.load(name)
    order = np.random.default_rng(0).permutation(len(found.train.targets))
    of_check = min(1000, len(order) // 4)

    def flat(split: Any, rows: Any) -> Examples:
        features = np.asarray(split.features[rows], np.float32)
        return Examples(features.reshape(len(features), -1), split.targets[rows])

    ends = (0, of_check, 2 * of_check, 2 * of_check + count)
    checked, held_out, train = (flat(found.train, order[a:b]) for a, b in itertools.pairwise(ends))
    return Sample(train, checked, held_out, flat(found.test, slice(2000)))


def exact(name: str, start: Any, usual_scale: float, loss: Callable[[jax.Array], jax.Array], level: float) -> Traps:
    """A loss without examples.

    Args:
        name: of the trap.
        start: the point.
        usual_scale: standard deviation of a start at random.
        loss: of w.
        level: the loss below which it is left.

    Returns:
        One kind of start.
    """
    point = jnp.asarray(start, jnp.float32)
    return Traps(
        {name: level},
        lambda key, kind: jnp.stack([point, usual_scale * jax.random.normal(key, point.shape)])[kind],
        lambda w, key: loss(w),
        loss,
        None,
        loss,
        rate=0.01,
        cost=1.0,
    )


def toy() -> Traps:
    """The lectures' example (1 - w1 w2)^2, from its saddle.

    >>> list(toy().kinds)
    ['(1 − w₁w₂)²']
    """
    return exact("(1 − w₁w₂)²", np.zeros(2), 1.0, lambda w: (1 - w[0] * w[1]) ** 2, 0.9)


def factorization() -> Traps:
    """|U U' - M|^2 / 4 with M of 20 rows, of rank 5 with the eigenvalues 5 to 1, from U = 0."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(20, 5)))
    target = jnp.asarray((q * np.arange(5, 0, -1)) @ q.T, jnp.float32)

    def loss(w: jax.Array) -> jax.Array:
        u = w.reshape(20, 5)
        return jnp.sum((u @ u.T - target) ** 2) / 4

    return exact("low-rank factorization", np.zeros(100), 0.1, loss, 13.0)


def ill_conditioned() -> Traps:
    """A saddle of 1,000 dimensions of which one leads down, with a thousandth of the largest curvature."""
    ratio = 1e-3
    positive = jnp.asarray(np.random.default_rng(0).uniform(ratio, 1, 999), jnp.float32)

    def loss(w: jax.Array) -> jax.Array:
        # The fourth power gives the way out an end.
        return (jnp.sum(positive * w[1:] ** 2) - ratio * w[0] ** 2) / 2 + ratio * w[0] ** 4 / 4

    return exact("ill-conditioned saddle", np.zeros(1000), 0.1, loss, -ratio / 8)._replace(rate=0.1)


def without_curvature() -> Traps:
    """(1 - w1 w2 w3)^2 at 0, where the Hessian is zero: a limit."""
    return exact("(1 − w₁w₂w₃)²: no curvature", np.zeros(3), 1.0, lambda w: (1 - w[0] * w[1] * w[2]) ** 2, 0.9)
