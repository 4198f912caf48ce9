"""Arithmetic on the leaves of pytrees, as all transforms do it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def widened(x: Any) -> jax.Array:
    """x in float32 or complex64 at least, in which the arithmetic on it is done; results are rounded back once.

    In bfloat16 a decay of 0.999 would be 1, and counts above 256 would be rounded.

    Args:
        x: an array or number, of any shape.

    Returns:
        The array in float32 or complex64, or as it was when its type is wider.

    Raises:
        ValueError: for integers and booleans, of which no step is left.

    >>> widened(jnp.ones(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    _require_inexact(jnp.result_type(x))
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _require_inexact(dtype: Any) -> None:
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"a leaf is {dtype}; allowed: floating-point or complex numbers, because a step would be rounded to "
            "nothing (take such leaves out of the parameters, or give None as their gradient)"
        )


def squared(x: jax.Array) -> jax.Array:
    """|x|^2, of which the real and the imaginary part of a complex number share one.

    >>> squared(jnp.array([3 + 4j])).tolist()
    [25.0]
    """
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def times(factor: Any, x: jax.Array) -> jax.Array:
    """factor x in the type of x: a scalar in float64 does not widen float32.

    Args:
        factor: a number or a scalar array.
        x: an array.

    Returns:
        An array of the shape and type of x.

    >>> times(jnp.float32(2), jnp.ones(2, jnp.float16)).dtype
    dtype('float16')
    """
    return jnp.asarray(factor, x.dtype) * x


def rounded(x: jax.Array, like: Any) -> jax.Array:
    """x in the type of a leaf.

    Args:
        x: an array.
        like: an array or a number.

    Returns:
        The array in that type.

    Raises:
        ValueError: when that type is one of integers or booleans.

    >>> rounded(jnp.ones(2), jnp.ones(2, jnp.bfloat16)).dtype
    dtype(bfloat16)
    """
    _require_inexact(jnp.result_type(like))
    return x.astype(jnp.result_type(like))


def zeros(params: Any) -> Any:
    """An average before its first input.

    Args:
        params: any pytree.

    Returns:
        Zeros of its structure, shapes, types and sharding.

    >>> zeros({"w": jnp.ones(2)})["w"].tolist()
    [0.0, 0.0]
    """
    # With its type named a state is never weakly typed, which an update would change and be compiled for again.
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=jnp.result_type(p)), params)


def zeros_of_squares(params: Any) -> Any:
    """An average of squares before its first input: as `zeros`, but real.

    Args:
        params: any pytree.

    Returns:
        Zeros of its structure, shapes and sharding, and of the types of its leaves' real parts.

    >>> zeros_of_squares(jnp.ones(2, jnp.complex64)).dtype
    dtype('float32')
    """

    def real_type(dtype: Any) -> Any:
        return jnp.finfo(dtype).dtype if jnp.issubdtype(dtype, jnp.complexfloating) else dtype

    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=real_type(jnp.result_type(p))), params)


def map_updates(rule: Callable[..., Any], updates: Any, *others: Any) -> Any:
    """rule(update, *others) leaf by leaf; where the update is None, as of a frozen parameter, it stays None.

    Args:
        rule: of a leaf.
        updates: a pytree.
        others: pytrees of that structure, or with arrays where the update is None.

    Returns:
        A pytree of the structure of `updates`.

    >>> map_updates(lambda u, w: u + w, {"a": 1, "b": None}, {"a": 2, "b": 3})
    {'a': 3, 'b': None}
    """
    return jax.tree.map(
        lambda u, *rest: None if u is None else rule(u, *rest), updates, *others, is_leaf=lambda u: u is None
    )


def map_state(rule: Callable[..., Any], updates: Any, state: Any) -> Any:
    """rule(update, old) leaf by leaf; where the update is None the state stays as it was.

    Args:
        rule: of a leaf.
        updates: a pytree.
        state: a pytree of that structure, or with arrays where the update is None.

    Returns:
        A pytree of the structure of `state`.

    >>> map_state(lambda u, s: u + s, {"a": 1, "b": None}, {"a": 2, "b": 3})
    {'a': 3, 'b': 3}
    """
    return jax.tree.map(lambda u, s: s if u is None else rule(u, s), updates, state, is_leaf=lambda u: u is None)
