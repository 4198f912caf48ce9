"""Handwritten digits with Equinox: L1 by soft threshold, which leaves two weights in three exactly zero.

python examples/equinox_mlp.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tricks import schedules, transforms

STEPS, BATCH = 3000, 64


def loss_fn(model: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


def main() -> None:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    x, y = jnp.asarray(features[order] / 16, jnp.float32), jnp.asarray(targets[order], jnp.int32)
    x_test, y_test, x, y = x[1437:], y[1437:], x[:1437], y[:1437]

    rate = schedules.warmup_decay(0.1, warmup_steps=100, total_steps=STEPS)
    optimizer = optax.chain(transforms.momentum(rate), transforms.soft_threshold(3e-3, rate))
    model = eqx.nn.MLP(64, 10, 128, 2, key=jax.random.key(0))
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, key):
        rows = jax.random.randint(key, (BATCH,), 0, len(y))
        gradients = eqx.filter_grad(loss_fn)(model, x[rows], y[rows])
        updates, state = optimizer.update(gradients, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state

    keys = jax.random.split(jax.random.key(1), STEPS)
    for key in keys:
        model, state = step(model, state, key)
    weights = jnp.concatenate([layer.weight.ravel() for layer in model.layers])
    accuracy = jnp.mean(jnp.argmax(jax.vmap(model)(x_test), axis=-1) == y_test)
    print(f"{jnp.mean(weights == 0):.0%} of the weights are exactly zero, test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
