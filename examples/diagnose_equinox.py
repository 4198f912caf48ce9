"""An Equinox training that hardly learns, because its rate is far too small: told by training again with others.

python examples/diagnose_equinox.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from tricks.diagnosis import diagnose

STEPS, BATCH, RATE = 600, 64, 3e-6


def examples() -> list[tuple[np.ndarray, np.ndarray]]:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    return [
        ((features[rows] / 16).astype(np.float32), targets[rows].astype(np.int32)) for rows in np.split(order, [1437])
    ]


TRAIN, TEST = examples()


def main() -> None:
    _, static = eqx.partition(eqx.nn.MLP(64, 10, 64, 2, key=jax.random.key(0)), eqx.is_inexact_array)

    def apply(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    def loss_fn(params, batch):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, batch[0]), batch[1]).mean()

    def initial(seed):
        return eqx.filter(eqx.nn.MLP(64, 10, 64, 2, key=jax.random.key(seed)), eqx.is_inexact_array)

    @jax.jit
    def train(seed, rate, steps):
        optimizer = optax.adam(rate)
        params = initial(seed)

        def step(number, carry):
            params, state = carry
            rows = jax.random.randint(jax.random.fold_in(jax.random.key(1), number), (BATCH,), 0, len(TRAIN[1]))
            batch = tuple(jnp.asarray(part)[rows] for part in TRAIN)
            updates, state = optimizer.update(jax.grad(loss_fn)(params, batch), state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]

    def train_fn(seed=0, rate_factor=1.0, length_factor=1.0):
        params = train(seed, rate_factor * RATE, int(length_factor * STEPS))
        return loss_fn(params, TRAIN), loss_fn(params, TEST)

    found = diagnose(
        loss_fn,
        train(0, RATE, STEPS),
        TRAIN,
        TEST,
        apply=apply,
        initial_params=initial(0),
        train_fn=train_fn,
        learning_rate=RATE,
        name="digits in Equinox",
    )
    print(found)


if __name__ == "__main__":
    main()
