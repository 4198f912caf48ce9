"""A network that is computed in a narrower type than that of its parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from tricks.models.network import ModelState, Network, Params

__all__ = ["computed_in"]


def computed_in(network: Network, dtype: Any) -> Network:
    """A network with parameters as they are, and the arithmetic of its layers in another floating-point type.

    Parameters and features that are floating-point numbers are rounded on the way in, and outputs of less than float32
    are widened on the way out. Gradients by the parameters come out in the types of these, as those of the rounding
    itself. The model state is neither rounded nor left rounded: moving averages in bfloat16 would stand still, since
    most of their changes are below half a unit in its last place.

    Args:
        network: any. What it sets the type of by itself, as by `dtype=` of Flax, it computes in that one.
        dtype: of the arithmetic.

    Returns:
        A `Network` with the same `init`.

    >>> def apply(params, model_state, x, **mode):
    ...     return x @ params["kernel"], {"mean": x.mean(axis=0)}
    >>> network = computed_in(Network(None, apply), jnp.bfloat16)
    >>> params, state = {"kernel": jnp.full((2, 1), 1 / 3)}, {"mean": jnp.zeros(2)}
    >>> outputs, state = network.apply(params, state, jnp.ones((1, 2)))
    >>> outputs, state["mean"].dtype
    (Array([[0.66796875]], dtype=float32), dtype('float32'))

    Source: Micikevicius et al., arXiv 1710.03740; Kalamkar et al., arXiv 1905.12322, on bfloat16.
    """

    def rounded(leaf: Any) -> Any:
        return jnp.asarray(leaf, dtype) if _is_floating(leaf) else leaf

    def apply(params: Params, model_state: ModelState, x: Any, **mode: Any) -> tuple[Any, ModelState]:
        outputs, after = network.apply(jax.tree.map(rounded, params), model_state, jax.tree.map(rounded, x), **mode)
        return jax.tree.map(_widened, outputs), jax.tree.map(_in_type_of, after, model_state)

    return Network(network.init, apply)


def _widened(leaf: Any) -> Any:
    return jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32)) if _is_floating(leaf) else leaf


def _in_type_of(after: Any, before: Any) -> Any:
    return jnp.asarray(after, before.dtype) if _is_floating(before) else after


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)
