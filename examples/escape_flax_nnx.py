"""A Flax NNX loop that is stuck because its hidden units began alike, and the two lines that let it out.

python examples/escape_flax_nnx.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from tricks import transforms

EPOCHS, BATCH, SAMPLE = 100, 128, 500


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        # All hidden units alike: the gradient moves them alike, forever.
        self.first = nnx.Linear(64, 32, kernel_init=nnx.initializers.constant(0.01), rngs=rngs)
        self.last = nnx.Linear(32, 10, kernel_init=nnx.initializers.constant(0.1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(nnx.tanh(self.first(x)))


def loss_fn(model: Network, x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


@nnx.jit
def train_step(
    model: Network, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array, checked: tuple, held_out: tuple
) -> jax.Array:
    loss, gradients = nnx.value_and_grad(loss_fn)(model, x, y)
    structure, _, rest = nnx.split(model, nnx.Param, ...)

    def loss_of(params: nnx.State, batch: tuple) -> jax.Array:
        return loss_fn(nnx.merge(structure, params, rest), *batch)

    optimizer.update(
        model,
        gradients,
        value=loss,
        value_fn=lambda params: loss_of(params, checked),
        held_out_value_fn=lambda params: loss_of(params, held_out),
    )
    return loss


def main() -> None:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    x, y = jnp.asarray(features[order] / 16, jnp.float32), jnp.asarray(targets[order], jnp.int32)
    x_test, y_test, x, y = x[1437:], y[1437:], x[:1437], y[:1437]
    checked, held_out = (x[:SAMPLE], y[:SAMPLE]), (x[SAMPLE : 2 * SAMPLE], y[SAMPLE : 2 * SAMPLE])

    model = Network(nnx.Rngs(0))
    escaping = transforms.escape_saddle(transforms.momentum(0.1), cost=SAMPLE / BATCH)
    optimizer = nnx.Optimizer(model, escaping, wrt=nnx.Param)
    steps = len(y) // BATCH
    for number in range(EPOCHS):
        for rows in np.random.default_rng(number).permutation(len(y))[: steps * BATCH].reshape(steps, BATCH):
            loss = train_step(model, optimizer, x[rows], y[rows], checked, held_out)
        if (number + 1) % 20 == 0:
            print(f"epoch {number + 1}: loss {loss:.3f}")
    accuracy = jnp.mean(jnp.argmax(model(x_test), axis=-1) == y_test)
    watch = nnx.state(optimizer.opt_state)["watch"]
    print(f"{watch['escapes'][...]} escape with {watch['products'][...]} products, test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
