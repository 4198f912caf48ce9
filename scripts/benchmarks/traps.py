"""Points from which first-order methods do not get away, each with a start, a loss and the level it holds them at."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tricks import data, models
from tricks.errors import UserError

RATES = {"SGD": 0.1, "momentum": 0.1, "Adam": 1e-3}


class Trap(NamedTuple):
    """A problem whose start, or where gradients lead from it, is no minimum."""

    name: str
    start: Callable[[jax.Array], Any]
    """A key -> parameters."""
    step_loss: Callable[[Any, jax.Array], jax.Array]
    """Parameters and a key -> the loss of a step, on a batch of its own where there are batches."""
    value_fn: Callable[[Any], jax.Array]
    held_out_value_fn: Callable[[Any], jax.Array] | None
    level: float
    """Below it the trap is left; on the scale of `value_fn`."""
    rates: dict[str, float] = RATES
    radii: tuple[float, float, float] = (0.01, 0.1, 1.0)
    """Of perturbed gradient descent."""
    steps: int = 3000
    most_products: int = 40
    """That an escape may take."""
    cost: float = 1.0
    """Of one gradient of `value_fn`, in gradients of a step."""


def all_traps() -> list[Trap]:
    """Those whose Hessian shows the way out."""
    return [
        *_networks(),
        _exact("toy", lambda key: jnp.zeros(2), lambda w: (1 - w[0] * w[1]) ** 2, 0.9),
        _exact("toy from (1, -1)", lambda key: jnp.array([1.0, -1.0]), lambda w: (1 - w[0] * w[1]) ** 2, 0.9),
        _octopus("octopus from its first saddle", lambda key: jnp.zeros(10), -0.5 * _STEP),
        _octopus("octopus, all ten saddles", _octopus_start, -9.5 * _STEP),
        _factorization(),
        _ill_conditioned(1e-2),
        _ill_conditioned(1e-3),
        _linear_network(),
        _second_eigenvector(),
        _equal_centres(),
        _phase_retrieval(),
    ]


def degenerate_traps() -> list[Trap]:
    """Those whose Hessian vanishes, or nearly: the limits."""
    product = lambda w: (1 - w[0] * w[1] * w[2]) ** 2  # noqa: E731
    deep = [
        _network(f"digits, 3 layers from {name}", "digits", (32, 32), initializer="zeros", scale=scale, level=2.1)
        for name, scale in (("0", 0.0), ("0.01", 0.01))
    ]
    return [_exact("w1 w2 w3 at 0", lambda key: jnp.zeros(3), product, 0.9), *deep, _dead()]


def _exact(name: str, start: Any, loss: Callable[[Any], jax.Array], level: float, **options: Any) -> Trap:
    return Trap(name, start, lambda params, key: loss(params), loss, None, level, **options)


def _networks() -> list[Trap]:
    traps = []
    for name, hidden, stuck in (("digits", 32, 1.15), ("mnist", 64, 1.3)):
        try:
            traps.append(_network(f"identical units, {name}", name, (hidden,), initializer="identical", level=stuck))
            traps.append(_network(f"zero weights, {name}", name, (hidden,), initializer="zeros", level=2.2))
        except UserError as error:
            print(f"{name} is left out: {error}")
    return traps


def _network(
    name: str, dataset: str, hidden: tuple[int, ...], *, initializer: str, level: float, scale: float = 0.0
) -> Trap:
    split = data.load(dataset).train
    order = np.random.default_rng(0).permutation(len(split.targets))
    x, y = jnp.asarray(_flat(split.features)[order]), jnp.asarray(split.targets[order])
    held = min(4096, len(y) // 2)
    sizes: dict[str, Any] = {"input_size": x.shape[1], "output_size": 10, "hidden_sizes": hidden, "activation": "tanh"}
    apply, _, state = models.build(**sizes, initializer=initializer, key=jax.random.key(0))

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits, _ = apply(params, state, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def start(key: jax.Array) -> Any:
        _, params, _ = models.build(**sizes, initializer=initializer, key=key)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        noisy = [w + scale * jax.random.normal(k, w.shape) for k, w in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, noisy)

    def step_loss(params: Any, key: jax.Array) -> jax.Array:
        rows = jax.random.randint(key, (128,), 0, len(y))
        return loss(params, x[rows], y[rows])

    return Trap(
        name,
        start,
        step_loss,
        partial(loss, x=x[:held], y=y[:held]),
        partial(loss, x=x[held : 2 * held], y=y[held : 2 * held]),
        level,
        cost=held / 128,
    )


def _dead() -> Trap:
    live = _network("digits, all ReLU dead", "digits", (32,), initializer="he", level=2.0)
    x = jnp.asarray(_flat(data.load("digits").train.features))
    y = jnp.asarray(data.load("digits").train.targets)
    sizes: dict[str, Any] = {"input_size": x.shape[1], "output_size": 10, "hidden_sizes": (32,)}
    apply, _, state = models.build(**sizes, key=jax.random.key(0))

    def loss(params: Any, rows: Any) -> jax.Array:
        logits, _ = apply(params, state, x[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

    def start(key: jax.Array) -> Any:
        _, params, _ = models.build(**sizes, key=key)
        return {**params, "linear_0": {**params["linear_0"], "bias": jnp.full(32, -100.0)}}

    return live._replace(
        start=start,
        step_loss=lambda params, key: loss(params, jax.random.randint(key, (128,), 0, len(y))),
        value_fn=lambda params: loss(params, slice(0, 600)),
        held_out_value_fn=lambda params: loss(params, slice(600, 1200)),
    )


# Du et al., arXiv 1705.10412: gradient descent visits ten saddles one after the other, each exponentially longer.
_L, _GAMMA, _TAU = 1.5, 1.0, float(np.e)


def _first_part(x: jax.Array) -> jax.Array:
    cubic = (-14 * _L + 10 * _GAMMA) / (3 * _TAU) * (x - _TAU) ** 3
    return -_GAMMA * x**2 + cubic + (5 * _L - 3 * _GAMMA) / (2 * _TAU**2) * (x - _TAU) ** 4


def _second_part(x: jax.Array) -> jax.Array:
    t, both = (x - 2 * _TAU) / _TAU, _L + _GAMMA
    return -_GAMMA - 10 * both * t**3 - 15 * both * t**4 - 6 * both * t**5


_STEP = float(-_first_part(jnp.float32(2 * _TAU)) + 4 * _L * _TAU**2)


def octopus(x: jax.Array) -> jax.Array:
    """A chain of strict saddles; each coordinate that leaves its own lowers the loss by the same step."""
    y = jnp.abs(x)
    left = y >= 2 * _TAU
    current = jnp.argmin(left)
    place = jnp.arange(len(y))
    before = jnp.sum(jnp.where(place < current, _L * (y - 4 * _TAU) ** 2, 0))
    own, following = y[current], y[jnp.minimum(current + 1, len(y) - 1)]
    is_last = current == len(y) - 1
    near = own <= _TAU
    near_value = -_GAMMA * own**2 + jnp.where(is_last, 0, _L * following**2)
    far_value = _first_part(own) + jnp.where(is_last, 0, _second_part(own) * following**2)
    after = jnp.sum(jnp.where(place > current + 1, _L * y**2, 0))
    inside = before + jnp.where(near, near_value, far_value) + after - current * _STEP
    return jnp.where(jnp.all(left), jnp.sum(_L * (y - 4 * _TAU) ** 2) - len(y) * _STEP, inside)


def _octopus(name: str, start: Callable[[jax.Array], jax.Array], level: float) -> Trap:
    return _exact(name, start, octopus, level, rates={"SGD": 0.1, "momentum": 0.02, "Adam": 0.1})


def _octopus_start(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (10,), minval=-1.0, maxval=1.0)


def _factorization() -> Trap:
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(20, 5)))
    target = jnp.asarray((q * np.arange(5, 0, -1)) @ q.T, jnp.float32)
    rates = {"SGD": 0.02, "momentum": 0.01, "Adam": 1e-2}

    def loss(u: jax.Array) -> jax.Array:
        return jnp.sum((u @ u.T - target) ** 2) / 4

    return _exact("low-rank factorization", lambda key: jnp.zeros((20, 5)), loss, 13.0, rates=rates)


def _ill_conditioned(ratio: float) -> Trap:
    positive = jnp.asarray(np.random.default_rng(0).uniform(ratio, 1, 9_999), jnp.float32)

    def loss(x: jax.Array) -> jax.Array:
        # The fourth power gives the way out an end.
        return (jnp.sum(positive * x[1:] ** 2) - ratio * x[0] ** 2) / 2 + ratio * x[0] ** 4 / 4

    rates = {"SGD": 1.0, "momentum": 0.1, "Adam": 1e-3}
    name = f"ill-conditioned saddle, {ratio:g}"
    start = lambda key: jnp.zeros(10_000)  # noqa: E731
    return _exact(name, start, loss, -ratio / 8, rates=rates, most_products=120)


def _linear_network() -> Trap:
    split = data.load("digits").train
    x = jnp.asarray(_flat(split.features))
    y = jax.nn.one_hot(jnp.asarray(split.targets), 10)

    def loss(params: Any) -> jax.Array:
        return jnp.mean((x @ params["first"] @ params["second"] - y) ** 2)

    def start(key: jax.Array) -> Any:
        return {"first": jnp.zeros((64, 16)), "second": jnp.zeros((16, 10))}

    return _exact("2-layer linear network from 0", start, loss, 0.095)


def _second_eigenvector() -> Trap:
    values = jnp.concatenate([jnp.array([2.0, 1.5]), jnp.linspace(1, 0, 98)])

    def loss(w: jax.Array) -> jax.Array:
        return -jnp.sum(values * w**2) / jnp.sum(w**2)

    return _exact("Rayleigh quotient, 2nd eigenvector", lambda key: jnp.zeros(100).at[1].set(1.0), loss, -1.6)


def _equal_centres() -> Trap:
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(3, 8))
    points = jnp.asarray(centres[np.arange(600) % 3] + rng.normal(size=(600, 8)), jnp.float32)

    def loss(means: jax.Array) -> jax.Array:
        away = jnp.sum((points[:, None] - means[None]) ** 2, axis=-1) / 2
        return -jnp.mean(jax.scipy.special.logsumexp(-away, axis=1)) + jnp.log(3.0)

    def start(key: jax.Array) -> jax.Array:
        return jnp.broadcast_to(jax.random.normal(key, (1, 8)), (3, 8))

    rates = {"SGD": 0.1, "momentum": 0.1, "Adam": 0.05}
    return _exact("mixture of Gaussians, equal centres", start, loss, 35.0, rates=rates)


def _phase_retrieval() -> Trap:
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(400, 50)), jnp.float32)
    y = (a @ jnp.asarray(rng.normal(size=50) / 50**0.5, jnp.float32)) ** 2

    def loss(w: jax.Array) -> jax.Array:
        return jnp.mean(((a @ w) ** 2 - y) ** 2)

    rates = {"SGD": 0.01, "momentum": 0.005, "Adam": 1e-2}
    return _exact("phase retrieval from 0", lambda key: jnp.zeros(50), loss, float(0.9 * jnp.mean(y**2)), rates=rates)


def _flat(features: Any) -> Any:
    return features.reshape(len(features), -1)
