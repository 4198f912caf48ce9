"""Linear data and networks, trained under the lectures' decays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tricks import losses
from tricks.data import load
from tricks.masks import WEIGHTS_ONLY, Mask
from tricks.models import multilayer_perceptron
from tricks.transforms import add_l1_decay, add_l2_decay, momentum, soft_threshold

COEFFICIENTS, NOT_ZERO, EXAMPLES = 64, 4, 64
NEAR = 0.01
EDGES = np.linspace(-7, 1, 33)
_VALIDATION, _INTERCEPT, _NOISE, _NORM = 256, 3.0, 1.0, 2.0
_LINEAR_RATE = 0.02
_HIDDEN, _BATCH = 32, 64


class Strengths(NamedTuple):
    """Of each decay; 0 leaves one out."""

    sign: float | jax.Array = 0.0
    """L1 by the sign."""
    soft: float | jax.Array = 0.0
    """L1 by soft threshold."""
    l2: float | jax.Array = 0.0


def optimizer(rate: float, strengths: Strengths, mask: Mask = WEIGHTS_ONLY) -> optax.GradientTransformation:
    """Gradient descent with decay: w <- w - eta (dL/dw + sign sgn(w) + l2 w), then the soft threshold.

    Args:
        rate: eta.
        strengths: of the decays.
        mask: what decays.

    Returns:
        An optax transformation.

    >>> tx, w = optimizer(0.1, Strengths(sign=1.0), mask=None), jnp.array([2.0])
    >>> round(tx.update(jnp.zeros(1), tx.init(w), w)[0].item(), 4)
    -0.1
    """
    return optax.chain(
        add_l1_decay(strengths.sign, mask),
        add_l2_decay(strengths.l2, mask),
        momentum(rate, 0.0),
        soft_threshold(strengths.soft, rate, mask),
    )


def linear_data(sparse: bool, draw: int) -> dict[str, np.ndarray]:
    """Numbers that are linear in features of mean 0 and deviation 1, with noise of deviation 1 and a bias of 3.

    Args:
        sparse: only `NOT_ZERO` coefficients are not 0, and of equal size; else all are Gaussian.
        draw: number of the draw.

    Returns:
        `x` and `y`, `EXAMPLES` to train on and then those for validation, and `weights`, of norm 2.

    >>> int(np.count_nonzero(linear_data(True, 0)["weights"]))
    4
    """
    random = np.random.default_rng((draw, int(sparse)))
    weights = random.standard_normal(COEFFICIENTS)
    if sparse:
        weights = np.sign(weights) * (random.permutation(COEFFICIENTS) < NOT_ZERO)
    weights *= _NORM / np.linalg.norm(weights)
    x = random.standard_normal((EXAMPLES + _VALIDATION, COEFFICIENTS))
    y = x @ weights + _INTERCEPT + _NOISE * random.standard_normal(len(x))
    return {"x": x.astype(np.float32), "y": y.astype(np.float32), "weights": weights.astype(np.float32)}


def linear_errors(
    sparse: bool, draws: list[int], grid: Strengths, *, mask: Mask = WEIGHTS_ONLY, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits linear data by gradient descent with every strength.

    Args:
        sparse: as for `linear_data`.
        draws: numbers of the draws.
        grid: (settings,) strengths of each decay.
        mask: what decays.
        steps: of gradient descent on all examples, from 0.

    Returns:
        (draws, settings) squared errors: of validation, and expected on new examples, without their noise.
    """
    made = [linear_data(sparse, draw) for draw in draws]
    x, y, weights = (jnp.stack([one[part] for one in made]) for part in ("x", "y", "weights"))

    def half_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(x @ params["kernel"][:, 0] + params["bias"] - y)) / 2

    def fit(x: jax.Array, y: jax.Array, weights: jax.Array, strengths: Strengths) -> tuple[jax.Array, jax.Array]:
        tx = optimizer(_LINEAR_RATE, strengths, mask)
        params = {"kernel": jnp.zeros((COEFFICIENTS, 1)), "bias": jnp.zeros(1)}

        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            gradient = jax.grad(half_error)(params, x[:EXAMPLES], y[:EXAMPLES])
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (params, tx.init(params)), None, steps)[0][0]
        # Features are independent, with mean 0 and deviation 1, so the expected error is known.
        off = jnp.sum(jnp.square(params["kernel"][:, 0] - weights)) + jnp.sum(jnp.square(params["bias"] - _INTERCEPT))
        return 2 * half_error(params, x[EXAMPLES:], y[EXAMPLES:]), off

    over_grid = jax.vmap(fit, in_axes=(None, None, None, 0))
    validation, new = jax.jit(jax.vmap(over_grid, in_axes=(0, 0, 0, None)))(x, y, weights, grid)
    return np.asarray(validation, np.float64), np.asarray(new, np.float64)


def networks(
    images: str, seeds: list[int], lanes: dict[str, Strengths], *, rate: float, steps: int
) -> dict[str, dict[str, list[Any]]]:
    """Trains a network with each decay.

    Args:
        images: name of the data set.
        seeds: of weights and batches.
        lanes: strengths, by name.
        rate: eta.
        steps: updates.

    Returns:
        For each lane what `spread` gives of the trained weights and the test `accuracy`, one for each seed.
    """
    data = load(images)
    x, x_test = (part.features.reshape(len(part.targets), -1) for part in (data.train, data.test))
    network = multilayer_perceptron(input_size=x.shape[1], output_size=data.classes or 0, hidden_sizes=(_HIDDEN,))
    mean_loss = losses.mean_loss(network.apply, losses.named("cross_entropy"))

    def train(seed: jax.Array, strengths: Strengths, x: jax.Array, y: jax.Array) -> Any:
        tx, key = optimizer(rate, strengths), jax.random.key(seed)
        params, _ = network.init(key)

        def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
            params, state = carry
            rows = jax.random.randint(jax.random.fold_in(key, number), (_BATCH,), 0, len(x))
            gradient = jax.grad(lambda p: mean_loss(p, {}, losses.Batch(x[rows], y[rows]), None)[0])(params)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(steps))[0][0]

    over_lanes = jax.vmap(jax.vmap(train, in_axes=(0, None, None, None)), in_axes=(None, 0, None, None))
    strengths = Strengths(*jnp.asarray(list(lanes.values())).T)
    trained = jax.jit(over_lanes)(jnp.asarray(seeds), strengths, jnp.asarray(x), jnp.asarray(data.train.targets))
    found: dict[str, dict[str, list[Any]]] = {}
    for number, name in enumerate(lanes):
        rows = [jax.tree.map(lambda a, n=number, s=s: a[n, s], trained) for s in range(len(seeds))]
        spreads = [spread(np.concatenate([np.ravel(layer["kernel"]) for layer in params.values()])) for params in rows]
        right = [np.argmax(network.apply(params, {}, x_test)[0], -1) == data.test.targets for params in rows]
        found[name] = {part: [one[part] for one in spreads] for part in spreads[0]}
        found[name]["accuracy"] = [float(np.mean(one)) for one in right]
    return found


def spread(weights: np.ndarray) -> dict[str, Any]:
    """How large weights are.

    Args:
        weights: of a network, in one row.

    Returns:
        Shares of them: `zero` exactly, `near` it (zeros and all below `NEAR` in size), and `bins` of log10 |w| between
        `EDGES`, with what is beyond at the ends.

    >>> found = spread(np.array([0.0, 0.001, 2.0, -3.0]))
    >>> found["zero"], found["near"], sum(found["bins"])
    (0.25, 0.5, 0.75)
    """
    sizes = np.abs(weights)
    logarithms = np.clip(np.log10(sizes[sizes > 0]), EDGES[0], EDGES[-1])
    return {
        "zero": float(np.mean(sizes == 0)),
        "near": float(np.mean(sizes < NEAR)),
        "bins": (np.histogram(logarithms, EDGES)[0] / len(weights)).tolist(),
    }
