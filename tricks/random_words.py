"""Random bits that are quick to compute and to compile, where a generator's full strength is not needed."""

import math

import jax
import jax.numpy as jnp

__all__ = ["random_words"]


def random_words(first: jax.Array, second: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The position of each word, mixed twice with a random word before each time.

    Args:
        first: a random word, uint32.
        second: another.
        shape: of the result.

    Returns:
        uint32 words; other random words give others.

    >>> random_words(jnp.uint32(1), jnp.uint32(2), (2, 2)).tolist()
    [[664193924, 1606317162], [867435477, 1251782973]]

    Source: the finalizer of MurmurHash3, in which every bit of the input moves every bit of the output.
    """
    position = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _mix(_mix(position * jnp.uint32(0x9E3779B9) + first) + second)


def _mix(word: jax.Array) -> jax.Array:
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
