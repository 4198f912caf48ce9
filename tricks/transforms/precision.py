"""Arithmetic in a wider type than that of the parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def widened(x: jax.Array) -> jax.Array:
    """x in float32 at least, in which the arithmetic on it is done; results are rounded back once.

    In bfloat16 a decay of 0.999 would be 1, and counts above 256 would be rounded.

    Args:
        x: an array.

    Returns:
        The array in float32, or as it was when its type is wider.

    >>> widened(jnp.ones(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def in_dtype(inner: optax.GradientTransformation, dtype: Any = jnp.float32) -> optax.GradientTransformationExtraArgs:
    """Runs a transformation, its state included, in another floating-point type.

    For parameters in bfloat16: an average with a decay of 0.999 that is itself kept in bfloat16 stops moving, because
    each change is below half a unit in its last place.

    Args:
        inner: any optax transformation.
        dtype: floating-point type of its state and of its arithmetic.

    Returns:
        A transformation with the state of `inner` in `dtype`; updates come back in the type of the gradients.

    Raises:
        ValueError: for a type that is not a floating-point one.

    >>> tx = in_dtype(optax.adam(0.1))
    >>> params = jnp.ones(2, jnp.bfloat16)
    >>> state = tx.init(params)
    >>> state[0].mu.dtype, tx.update(params, state)[0].dtype
    (dtype('float32'), dtype(bfloat16))
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype is {dtype!r}; allowed: a floating-point type such as jnp.float32")
    inner = optax.with_extra_args_support(inner)

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)

    def init_fn(params: optax.Params) -> optax.OptState:
        return inner.init(cast(params))

    def update_fn(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra: Any
    ) -> tuple[optax.Updates, optax.OptState]:
        wide, state = inner.update(cast(updates), state, None if params is None else cast(params), **extra)
        return jax.tree.map(lambda w, u: w.astype(u.dtype), wide, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
