"""A convolutional network of Flax NNX, with batch normalization and dropout."""

import jax
from flax import nnx

from tricks import models


class Block(nnx.Module):
    """Convolution, batch normalization, ReLU, and the largest of every 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.convolution = nnx.Conv(inputs, outputs, (3, 3), use_bias=False, rngs=rngs)
        self.normalization = nnx.BatchNorm(outputs, momentum=0.99, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.max_pool(nnx.relu(self.normalization(self.convolution(x))), (2, 2), strides=(2, 2))


class CNN(nnx.Module):
    """Three blocks and two linear layers."""

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int, dropout: float, rngs: nnx.Rngs) -> None:
        height, breadth, channels = shape
        self.first = Block(channels, width, rngs)
        self.second = Block(width, 4 * width, rngs)
        self.third = Block(4 * width, 8 * width, rngs)
        self.hidden = nnx.Linear(8 * width * (height // 8) * (breadth // 8), 128, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.last = nnx.Linear(128, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.third(self.second(self.first(x)))
        return self.last(self.dropout(nnx.relu(self.hidden(x.reshape(len(x), -1)))))


def build(example, outputs, width=8, dropout=0.2):
    """The network for images (batch, height, width, channels)."""
    return models.from_nnx(lambda rngs: CNN(example.shape[1:], outputs, width, dropout, rngs))
