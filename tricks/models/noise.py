"""Dropout and noise, with fewer operations than jax.random takes."""

import math

import jax
import jax.numpy as jnp

from tricks.random_words import random_words

__all__ = ["disturb", "drop", "is_on"]


def is_on(strength: float | jax.Array) -> bool:
    """Whether a strength is anything but the number 0; a traced one may be."""
    return isinstance(strength, jax.Array) or strength > 0


def drop(x: jax.Array, rate: float | jax.Array, key: jax.Array) -> jax.Array:
    """Dropout: each element is 0 with probability `rate`, and x / (1 - rate) otherwise.

    Args:
        x: of any shape with a last dimension.
        rate: 0 or more and below 1.
        key: of this mask alone.

    Returns:
        An array as x.

    >>> drop(jnp.ones(6), 0.5, jax.random.key(0))
    Array([0., 0., 2., 2., 2., 0.], dtype=float32)
    """
    # Sixteen random bits a unit. The rate is thereby rounded to a multiple of 2^-16, and the survivors are scaled by
    # what it was rounded to.
    halves = _random_halves(key, x.shape)
    kept = jnp.maximum(jnp.round((1 - rate) * 2**16), 1)
    survives = halves < kept.astype(jnp.uint32)
    # In half a precision the scale would be off by up to 0.2 %, for all units in the same direction.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.where(survives, (x.astype(wide) * (2**16 / kept).astype(wide)).astype(x.dtype), 0)


def disturb(x: jax.Array, deviation: float | jax.Array, key: jax.Array | None, number: int) -> jax.Array:
    """Noise: x + deviation times nearly Gaussian numbers of deviation 1.

    Args:
        x: of any shape with a last dimension.
        deviation: 0 or more.
        key: of all noise of a step; None for none.
        number: of this noise among it.

    Returns:
        An array as x.

    >>> disturb(jnp.ones(3), 0.5, None, 0)
    Array([1., 1., 1.], dtype=float32)
    """
    if key is None or not is_on(deviation):
        return x
    halves = _random_halves(key=jax.random.fold_in(key, number), shape=x.shape)
    # The sum of two bytes: near enough to a Gaussian, as every unit of the next layer sums over many.
    # Half a precision has no odd numbers beyond 256.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total = (halves & 0xFF).astype(wide) + (halves >> 8).astype(wide) - 255
    return x + (jnp.asarray(deviation / math.sqrt((2**16 - 1) / 6), wide) * total).astype(x.dtype)


def _random_halves(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    units = shape[-1]
    words = _random_words(key, (*shape[:-1], -(-units // 2)))
    return jnp.concatenate([words & 0xFFFF, words >> 16], axis=-1)[..., :units]


def _random_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    # jax.random.bits spends some sixty operations a word, a tenth of a small step. A mask needs less.
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return random_words(first, second, shape)
