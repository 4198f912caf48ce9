"""Networks small enough for their whole Hessian, as functions of one vector, in float64 where JAX has it enabled."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tricks import data
from tricks.losses import Loss
from tricks.models import Network


class Examples(NamedTuple):
    """Features (n, inputs) and targets (n,)."""

    features: Any
    targets: Any


class Small(NamedTuple):
    """A network with a loss; w is the vector of all its parameters."""

    start: Callable[[jax.Array], jax.Array]
    """A key -> w."""
    loss: Callable[[jax.Array, Any], jax.Array]
    """w and `Examples` -> the mean loss over them."""


def small(network: Network, loss: Loss) -> Small:
    """A network without state as functions of one vector.

    Args:
        network: without batch normalization.
        loss: of each example.

    Returns:
        Its start and its mean loss, in the widest type that is enabled.

    >>> from tricks.losses import squared_error
    >>> from tricks.models import multilayer_perceptron
    >>> made = small(multilayer_perceptron(input_size=1, output_size=1, hidden_sizes=(3,)), squared_error)
    >>> w = made.start(jax.random.key(0))
    >>> w.shape, made.loss(w, Examples(np.ones((5, 1)), np.zeros(5))).shape
    ((10,), ())
    """
    widest = jnp.zeros([]).dtype

    def init(key: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(widest), network.init(key)[0])

    shapes = jax.eval_shape(init, jax.random.key(0))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]

    def mean_loss(w: jax.Array, examples: Examples) -> jax.Array:
        outputs, _ = network.apply(unravel(w), {}, jnp.asarray(examples.features, widest))
        return jnp.mean(loss(outputs, jnp.asarray(examples.targets))["loss"])

    return Small(lambda key: ravel_pytree(init(key))[0], mean_loss)


def damped_sine(points: int) -> Examples:
    """sin(5 pi x) / (5 pi x) at places evenly spread from 0 to 1.

    >>> damped_sine(3).targets.round(4).tolist()
    [1.0, 0.1273, 0.0]
    """
    x = np.linspace(0, 1, points)
    return Examples(x[:, None], np.sinc(5 * x))


def parts_of_digits(count: int, seed: int = 0) -> tuple[Examples, Examples]:
    """Two disjoint parts of the digits, each of so many examples, flat.

    Args:
        count: examples of a part.
        seed: with which they are drawn.

    Returns:
        Both parts, normalized as the whole training part is.

    >>> [part.features.shape for part in parts_of_digits(600)]
    [(600, 64), (600, 64)]
    """
    split = data.load("digits").train
    features = np.asarray(split.features, np.float64).reshape(len(split.targets), -1)
    order = np.random.default_rng(seed).permutation(len(features))
    parts = order[:count], order[count : 2 * count]
    return Examples(features[parts[0]], split.targets[parts[0]]), Examples(features[parts[1]], split.targets[parts[1]])


def descend(
    loss: Callable[[jax.Array], jax.Array], w: jax.Array, steps: int, optimizer: Any, stop: Any = None
) -> jax.Array:
    """Trains on a loss that is the same at every step.

    Args:
        loss: of w.
        w: the start.
        steps: how many.
        optimizer: an optax transformation.
        stop: the step from which on nothing moves; may be traced. None for never.

    Returns:
        The last w.

    >>> from tricks.transforms import momentum
    >>> descend(lambda w: jnp.sum(w**2), jnp.ones(2), 3, momentum(0.25, 0.0)).tolist()
    [0.125, 0.125]
    """

    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        w, state = carry
        update, state = optimizer.update(jax.grad(loss)(w), state, w)
        moves = True if stop is None else number < stop
        return (w + jnp.where(moves, update, 0), state), None

    (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(steps))
    return w


def descend_by_windows(
    loss: Callable[[jax.Array], jax.Array], w: jax.Array, windows: int, window: int, optimizer: Any
) -> tuple[jax.Array, jax.Array]:
    """Trains as `descend`, and looks back over each window of steps.

    Args:
        loss: of w.
        w: the start.
        windows: how many.
        window: steps in each.
        optimizer: an optax transformation.

    Returns:
        w after each window, (windows, n), and the mean in each of the losses before its steps.

    >>> from tricks.transforms import momentum
    >>> ends, means = descend_by_windows(lambda w: jnp.sum(w**2), jnp.ones(2), 2, 2, momentum(0.25, 0.0))
    >>> ends.tolist(), means.tolist()
    ([[0.25, 0.25], [0.0625, 0.0625]], [1.25, 0.078125])
    """

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        w, state = carry
        value, gradient = jax.value_and_grad(loss)(w)
        update, state = optimizer.update(gradient, state, w)
        return (w + update, state), value

    def over_window(carry: Any, _: None) -> tuple[Any, Any]:
        carry, values = jax.lax.scan(step, carry, None, length=window)
        return carry, (carry[0], jnp.mean(values))

    return jax.lax.scan(over_window, (w, optimizer.init(w)), None, length=windows)[1]


def first_plateau(means: Sequence[float], improvement: float, above: float) -> int | None:
    """The first window in which a loss stands still at a high value.

    Args:
        means: of the loss in windows that follow one another.
        improvement: the share of the mean before by which it must fall, and more, not to stand still.
        above: the loss that counts as high.

    Returns:
        Number of the window; None where there is none.

    >>> first_plateau([3.0, 2.0, 1.99, 1.0], 0.01, 0.5), first_plateau([0.4, 0.4], 0.01, 0.5)
    (2, None)
    """
    for number, (before, mean) in enumerate(itertools.pairwise(means), start=1):
        if mean >= (1 - improvement) * before and mean > above:
            return number
    return None


def to_small_gradient(
    loss: Callable[[jax.Array], jax.Array], w: jax.Array, steps: int, longest: float = 0.3
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Drives the gradient to zero whatever the loss does, by Levenberg and Marquardt's method on |g|^2.

    A step is -(H^2 + mu)^-1 H g; it is taken where |g| falls by it, and mu grows where it does not. It ends at a
    critical point of any kind, or where Hg = 0 though g is not.

    Args:
        loss: of w.
        w: the start.
        steps: how many are tried.
        longest: length of a step at most, so that it ends near where it began.

    Returns:
        w, its gradient and its Hessian.

    >>> w, gradient, matrix = to_small_gradient(lambda w: w[0] ** 2 - w[1] ** 2 + w[0] ** 4, jnp.ones(2), 20)
    >>> bool(jnp.max(jnp.abs(w)) < 1e-3), matrix.round(3).tolist()
    (True, [[2.0, 0.0], [0.0, -2.0]])
    """
    gradient_of, hessian_of = jax.grad(loss), jax.hessian(loss)
    first = hessian_of(w)
    identity = jnp.eye(len(w), dtype=w.dtype)
    precision = jnp.finfo(w.dtype).eps

    def step(carry: Any, _: None) -> tuple[Any, None]:
        w, gradient, matrix, damping = carry
        square = matrix @ matrix
        scale = jnp.trace(square)
        factor = jax.scipy.linalg.cho_factor(square + (damping + 4 * precision) * scale * identity)
        away = jax.scipy.linalg.cho_solve(factor, matrix @ gradient)
        tried = w - away * jnp.minimum(1, longest / jnp.maximum(jnp.linalg.norm(away), 1e-300))
        there = gradient_of(tried)
        better = jnp.sum(there**2) < jnp.sum(gradient**2)
        w, gradient = jnp.where(better, tried, w), jnp.where(better, there, gradient)
        matrix = jax.lax.cond(better, hessian_of, lambda _: matrix, w)
        damping = jnp.clip(jnp.where(better, damping / 4, damping * 4), 1e-20, 1e4)
        return (w, gradient, matrix, damping), None

    carry = (w, gradient_of(w), first, jnp.asarray(1e-4, w.dtype))
    (w, gradient, matrix, _), _ = jax.lax.scan(step, carry, None, length=steps)
    return w, gradient, matrix
