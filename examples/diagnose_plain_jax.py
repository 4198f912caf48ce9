"""A training in plain JAX that does not learn: its hidden units begin all alike. `diagnose` finds the saddle.

python examples/diagnose_plain_jax.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tricks.diagnosis import diagnose

UNITS, BATCH, EPOCHS = 32, 64, 60


def examples() -> list[tuple[np.ndarray, np.ndarray]]:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    return [
        ((features[rows] / 16).astype(np.float32), targets[rows].astype(np.int32)) for rows in np.split(order, [1437])
    ]


def initial(key: jax.Array) -> dict[str, jax.Array]:
    # The mistake: one column for all hidden units, one row for all of them.
    into, out = jax.random.split(key)
    return {
        "into": jnp.broadcast_to(0.1 * jax.random.normal(into, (64, 1)), (64, UNITS)),
        "out": jnp.broadcast_to(0.1 * jax.random.normal(out, (1, 10)), (UNITS, 10)),
        "bias": jnp.zeros(10),
    }


def outputs(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["into"]) @ params["out"] + params["bias"][None]


def loss_fn(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(outputs(params, x), y).mean()


def main() -> None:
    (x, y), test = examples()
    optimizer = optax.sgd(0.1, momentum=0.9)
    params = initial(jax.random.key(0))
    state, history = optimizer.init(params), []

    @jax.jit
    def step(params, state, batch):
        loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    for epoch in range(EPOCHS):
        order, losses = np.random.default_rng(epoch).permutation(len(y)), []
        for start in range(0, len(y) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            params, state, loss = step(params, state, (x[rows], y[rows]))
            losses.append(float(loss))
        history.append({"train_loss": float(np.mean(losses)), "validation_loss": float(loss_fn(params, test))})

    found = diagnose(
        loss_fn,
        params,
        (x, y),
        test,
        history=history,
        apply=outputs,
        initial_params=initial(jax.random.key(0)),
        name="digits in plain JAX",
    )
    print(found)


if __name__ == "__main__":
    main()
