"""The perceptron of this package in plain functions, with noise after its batch normalization; covariate shift."""

from typing import Any

import jax
import jax.numpy as jnp

from tricks.models import Network, from_functions, multilayer_perceptron

# Of the noise: largest mean and largest scale of a unit, which change at every update, and the spread over examples.
_MEAN, _SCALE, _JITTER = 0.5, 1.25, 0.1
_EPSILON = 1e-5


def forward(params: Any, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, list[jax.Array]]:
    """The multilayer perceptron with the statistics of its batch.

    Args:
        params: of `multilayer_perceptron` with relu, normalized or not.
        x: (batch, features).
        key: of noise between each normalization and its activation; None for none.

    Returns:
        Outputs (batch, outputs), and what enters each activation, (batch, units) each.

    >>> params, _ = multilayer_perceptron(input_size=2, output_size=3, hidden_sizes=(4,)).init(jax.random.key(0))
    >>> outputs, inputs = forward(params, jnp.ones((5, 2)))
    >>> outputs.shape, [one.shape for one in inputs]
    ((5, 3), [(5, 4)])
    """
    inputs: list[jax.Array] = []
    last = sum(name.startswith("linear") for name in params) - 1
    for i in range(last + 1):
        layer, norm = params[f"linear_{i}"], params.get(f"norm_{i}")
        x = x @ layer["kernel"] + (layer["bias"][None] if "bias" in layer else 0.0)
        if norm is not None:
            centred = x - jnp.mean(x, 0, keepdims=True)
            x = centred * jax.lax.rsqrt(jnp.mean(centred**2, 0, keepdims=True) + _EPSILON)
            x = x * norm["scale"][None] + norm["bias"][None]
        if i < last:
            inputs.append(x if key is None else disturbed(x, jax.random.fold_in(key, i)))
            x = jax.nn.relu(inputs[-1])
    return x, inputs


def disturbed(x: jax.Array, key: jax.Array) -> jax.Array:
    """s x + m, with about the same s and m for all examples of a unit, so that its distribution changes with the key.

    Args:
        x: (batch, units).
        key: other ones at every update make other means, within 0.5 of 0, and other scales, from 1 to 1.25.

    Returns:
        An array of the shape of x.

    >>> bool(jnp.abs(disturbed(jnp.zeros((1000, 1)), jax.random.key(0)).mean()) < 0.5)
    True

    Source: Santurkar et al., arXiv 1805.11604.
    """
    keys = jax.random.split(key, 4)
    mean = jax.random.uniform(keys[0], (1, x.shape[1]), minval=-_MEAN, maxval=_MEAN)
    scale = jax.random.uniform(keys[1], (1, x.shape[1]), minval=1.0, maxval=_SCALE)
    means = mean + jax.random.uniform(keys[2], x.shape, minval=-_JITTER, maxval=_JITTER)
    return (scale + _JITTER * jax.random.normal(keys[3], x.shape)) * x + means


def noisy_perceptron(**options: Any) -> Network:
    """A perceptron with batch normalization, and noise after it in training.

    Args:
        options: of `multilayer_perceptron`, among them `batch_norm=True` and no other noise.

    Returns:
        A `Network` with the parameters of the one without noise; it is for training alone, and keeps no averages.

    >>> network = noisy_perceptron(input_size=2, output_size=3, hidden_sizes=(4,), batch_norm=True)
    >>> params, state = network.init(jax.random.key(0))
    >>> network.apply(params, state, jnp.ones((5, 2)), rng=jax.random.key(1))[0].shape
    (5, 3)
    """

    def apply(params: Any, state: Any, x: jax.Array, *, rng: jax.Array | None, batch_statistics: bool) -> Any:
        return forward(params, x, rng)[0], state

    return from_functions(multilayer_perceptron(**options).init, apply)


def covariate_shift(before: list[jax.Array], after: list[jax.Array]) -> jax.Array:
    """How far the distributions of what enters activations have moved.

    The mean over units of |m' - m| / s + |ln(s' / s)|, with means m and deviations s over examples; then over layers.

    Args:
        before: of each layer (examples, units), as `forward` gives them.
        after: likewise, of other parameters.

    Returns:
        A scalar: 0 where no mean and no deviation has changed.

    >>> one = jnp.array([[1.0], [-1.0]])
    >>> float(covariate_shift([one], [one + 0.5]))
    0.5
    """

    def moved(one: jax.Array, other: jax.Array) -> jax.Array:
        deviation, new_deviation = jnp.std(one, 0) + 1e-12, jnp.std(other, 0) + 1e-12
        of_means = jnp.abs(jnp.mean(other, 0) - jnp.mean(one, 0)) / deviation
        return jnp.mean(of_means + jnp.abs(jnp.log(new_deviation / deviation)))

    return jnp.mean(jnp.stack([moved(*pair) for pair in zip(before, after, strict=True)]))
