"""Handwritten digits in plain JAX: RMSProp under warm-up and decay, L2 on the weights alone, early stopping inside jit.

python examples/plain_jax.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tricks import early_stopping, schedules, transforms

EPOCHS, BATCH, PATIENCE = 60, 32, 10


def split(seed: int) -> tuple[tuple[jax.Array, jax.Array], ...]:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(targets))
    parts = np.split(order, [1216, 1437])
    return tuple((jnp.asarray(features[p] / 16, jnp.float32), jnp.asarray(targets[p], jnp.int32)) for p in parts)


def initial(key: jax.Array, sizes: tuple[int, ...]) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"kernel": jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, "bias": jnp.zeros(n)}
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def outputs(params: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ params[-1]["kernel"] + params[-1]["bias"]


def loss_fn(params: list[dict[str, jax.Array]], x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(outputs(params, x), y).mean()


def main() -> None:
    (x, y), (x_validation, y_validation), (x_test, y_test) = split(seed=0)
    steps = len(y) // BATCH
    optimizer = optax.chain(
        transforms.add_l2_decay(1e-4),  # biases stay untouched
        transforms.rmsprop(schedules.warmup_decay(2e-3, warmup_steps=steps, total_steps=EPOCHS * steps)),
    )

    @jax.jit
    def epoch(params, state, stopping, key, number):
        def step(carry, rows):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss_fn)(params, x[rows], y[rows]), state, params)
            return (optax.apply_updates(params, updates), state), None

        batches = jax.random.permutation(key, len(y))[: steps * BATCH].reshape(steps, BATCH)
        (params, state), _ = jax.lax.scan(step, (params, state), batches)
        validation = loss_fn(params, x_validation, y_validation)
        stopping, improved = early_stopping.update(stopping, validation, number, min_delta=1e-4)
        return params, state, stopping, improved

    params = best = initial(jax.random.key(0), (64, 64, 64, 10))
    state, stopping = optimizer.init(params), early_stopping.init()
    for number in range(EPOCHS):
        params, state, stopping, improved = epoch(params, state, stopping, jax.random.key(number), number)
        best = params if improved else best
        if early_stopping.should_stop(stopping, PATIENCE):
            break
    accuracy = jnp.mean(jnp.argmax(outputs(best, x_test), axis=-1) == y_test)
    rate = transforms.current_learning_rate(state)
    print(f"best epoch {int(stopping.best_step)}, last rate {rate:.2g}, test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
