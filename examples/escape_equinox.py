"""An Equinox loop of one's own that starts from zero weights, with `tricks.curvature.escape` called where it is stuck.

python examples/escape_equinox.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tricks import curvature

STEPS, BATCH, SAMPLE, EVERY = 2000, 64, 500, 200


def loss_fn(model: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


def main() -> None:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    x, y = jnp.asarray(features[order] / 16, jnp.float32), jnp.asarray(targets[order], jnp.int32)
    x_test, y_test, x, y = x[1437:], y[1437:], x[:1437], y[:1437]
    checked, held_out = (x[:SAMPLE], y[:SAMPLE]), (x[SAMPLE : 2 * SAMPLE], y[SAMPLE : 2 * SAMPLE])

    optimizer = optax.adam(1e-3)
    model = eqx.nn.MLP(64, 10, 32, 1, activation=jnp.tanh, key=jax.random.key(0))
    model = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else leaf, model)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    state = optimizer.init(params)

    def loss_of(params, batch):
        return loss_fn(eqx.combine(params, static), *batch)

    @jax.jit
    def step(params, state, rows):
        loss, gradients = jax.value_and_grad(loss_of)(params, (x[rows], y[rows]))
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    recent, before = [], np.inf
    for number in range(STEPS):
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(1), number), (BATCH,), 0, len(y))
        params, state, loss = step(params, state, rows)
        recent.append(loss)
        if len(recent) == EVERY:
            mean, recent = float(np.mean(recent)), []
            print(f"step {number + 1}: loss {mean:.3f}")
            if mean > 0.99 * before:
                key = jax.random.key(number)
                params, found = curvature.escape(loss_of, params, [checked], held_out=[held_out], key=key)
                print(f"  stuck: {found.reason}, curvature {found.eigenvalue:.2f}, {found.products} products")
                state = optimizer.init(params) if found.reason == "escaped" else state
            before = mean
    model = eqx.combine(params, static)
    accuracy = jnp.mean(jnp.argmax(jax.vmap(model)(x_test), axis=-1) == y_test)
    print(f"test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
