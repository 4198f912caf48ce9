"""Batch normalization of Flax NNX whose running statistics are wider than what it normalizes."""

from typing import Any

from flax import nnx
from flax.nnx.nn.dtypes import canonicalize_dtype, promote_dtype

__all__ = ["keep_apart"]


def keep_apart(norm: nnx.BatchNorm) -> None:
    """Lets the type of the outputs follow from inputs, scale and bias, and not from wider running statistics.

    Flax widens all to one type, so that statistics in float32 would make all that comes after a normalization float32.
    Where none is wider, or the layer has a type or a promotion of its own, nothing changes.

    Args:
        norm: that is changed in place.

    >>> import jax.numpy as jnp
    >>> norm = nnx.BatchNorm(2, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    >>> norm(jnp.ones((3, 2), jnp.bfloat16), use_running_average=True).dtype
    dtype('float32')
    >>> keep_apart(norm)
    >>> norm(jnp.ones((3, 2), jnp.bfloat16), use_running_average=True).dtype
    dtype(bfloat16)
    """
    if norm.promote_dtype is promote_dtype:
        norm.promote_dtype = _promoted


def _promoted(arrays: Any, /, *, dtype: Any = None, inexact: bool = True) -> Any:
    x, mean, var, scale, bias = arrays
    own = canonicalize_dtype(x, scale, bias, dtype=dtype, inexact=inexact)
    if dtype is not None or own == canonicalize_dtype(*arrays, inexact=inexact):
        return promote_dtype(arrays, dtype=dtype, inexact=inexact)
    x, scale, bias = promote_dtype((x, scale, bias), dtype=own)
    return x, mean, var, scale, bias
