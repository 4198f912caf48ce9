"""Handwritten digits in a Flax NNX loop: LAMB with a large batch; decay and trust ratio leave normalization alone.

python examples/flax_nnx.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from tricks import schedules, transforms

EPOCHS, BATCH = 60, 304


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64, 128, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(128, momentum=0.9, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.norm(self.first(x))))


@nnx.jit
def train_step(model: Network, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
    def loss_fn(model: Network) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, gradients = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, gradients)
    return loss


def main() -> None:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    x, y = jnp.asarray(features[order] / 16, jnp.float32), jnp.asarray(targets[order], jnp.int32)
    x_test, y_test, x, y = x[1437:], y[1437:], x[:1437], y[:1437]

    steps = len(y) // BATCH
    model = Network(nnx.Rngs(0))
    rate = schedules.warmup_decay(0.05, warmup_steps=5 * steps, total_steps=EPOCHS * steps)
    optimizer = nnx.Optimizer(model, transforms.lamb(rate, weight_decay=0.01), wrt=nnx.Param)
    model.train()
    for number in range(EPOCHS):
        for rows in np.random.default_rng(number).permutation(len(y))[: steps * BATCH].reshape(steps, BATCH):
            loss = train_step(model, optimizer, x[rows], y[rows])
    model.eval()
    accuracy = jnp.mean(jnp.argmax(model(x_test), axis=-1) == y_test)
    print(f"{EPOCHS * steps} updates of {BATCH} examples, last loss {loss:.3f}, test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
