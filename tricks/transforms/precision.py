"""Arithmetic in a wider type than that of the parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_transformation
from tricks.transforms.leaves import map_updates, rounded


def in_dtype(inner: optax.GradientTransformation, dtype: Any = jnp.float32) -> optax.GradientTransformationExtraArgs:
    """Runs a transformation, its state included, in another floating-point type.

    For parameters in bfloat16 or float16: an average with a decay of 0.999 that is itself kept in bfloat16 stops
    moving, because each change is below half a unit in its last place, and the square of a small gradient is 0 in
    float16.

    Args:
        inner: any optax transformation.
        dtype: floating-point type of its state and of its arithmetic.

    Returns:
        A transformation with the state of `inner` in `dtype`; updates come back in the type of the gradients.

    Raises:
        ValueError: for a type that is not a floating-point one, or float64 without `jax_enable_x64`; for an `inner`
            that is no transformation.

    >>> tx = in_dtype(optax.adam(0.1))
    >>> params = jnp.ones(2, jnp.bfloat16)
    >>> state = tx.init(params)
    >>> state[0].mu.dtype, tx.update(params, state)[0].dtype
    (dtype('float32'), dtype(bfloat16))

    Source: Micikevicius et al., arXiv 1710.03740, on float32 copies in mixed precision.
    """
    if not _is_floating(dtype):
        raise ValueError(f"dtype is {dtype!r}; allowed: a floating-point type such as jnp.float32")
    if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
        raise ValueError(f"dtype is {dtype!r}; allowed: float64 only with jax_enable_x64; set it, or take jnp.float32")
    require_transformation("inner", inner)
    inner = optax.with_extra_args_support(inner)

    def in_other(leaf: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        # Its shape and its sharding alone, as a state is made of before there is memory for it.
        return leaf.update(dtype=dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.asarray(leaf, dtype)

    def cast(tree: Any) -> Any:
        return jax.tree.map(in_other, tree)

    def init_fn(params: optax.Params) -> optax.OptState:
        return inner.init(cast(params))

    def update_fn(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra: Any
    ) -> tuple[optax.Updates, optax.OptState]:
        wide, state = inner.update(cast(updates), state, None if params is None else cast(params), **extra)
        return map_updates(rounded, wide, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _is_floating(dtype: Any) -> bool:
    try:
        return dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        return False
