"""A small Transformer, and the task that it learns: to sort the tokens of a sequence."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tricks import models


class Block(nnx.Module):
    """Attention and a perceptron, each beside what passes by."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.before_attention = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.before_perceptron = nnx.LayerNorm(width, rngs=rngs)
        self.wide = nnx.Linear(width, 4 * width, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.before_attention(x))
        return x + self.narrow(nnx.gelu(self.wide(self.before_perceptron(x))))


class Transformer(nnx.Module):
    """Tokens (batch, length) to as many outputs for each place."""

    def __init__(
        self, length: int, tokens: int, outputs: int, width: int, heads: int, depth: int, rngs: nnx.Rngs
    ) -> None:
        self.tokens = nnx.Embed(tokens, width, rngs=rngs)
        self.places = nnx.Embed(length, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, heads, rngs) for _ in range(depth)])
        self.last_norm = nnx.LayerNorm(width, rngs=rngs)
        self.last = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.tokens(x) + self.places(jnp.arange(x.shape[1]))[None]
        for block in self.blocks:
            x = block(x)
        return self.last(self.last_norm(x))


def build(example, outputs, width=32, heads=4, depth=2):
    """The network for tokens (batch, length) that are numbers below `outputs`, as here those that it gives are too."""
    length = example.shape[1]
    return models.from_nnx(lambda rngs: Transformer(length, outputs, outputs, width, heads, depth, rngs))


def load(examples=6000, length=12, tokens=10):
    """Random sequences, and the same ones sorted."""
    sequences = np.random.default_rng(0).integers(0, tokens, (examples, length))
    return {"features": sequences, "targets": np.sort(sequences, axis=1)}
