"""The keys of a network's random streams."""

import functools
from typing import Any

import jax
import jax.extend.random
import jax.numpy as jnp

__all__ = ["stream_key", "unusable_key"]


def stream_key(rng: jax.Array, place: int) -> jax.Array:
    """The key of one random stream of a step, with a type of its own where `rng` has none.

    Args:
        rng: of the step.
        place: of the stream among those of the network.

    Returns:
        A typed key that no other stream has.
    """
    if not jax.dtypes.issubdtype(rng.dtype, jax.dtypes.prng_key):
        rng = jax.random.wrap_key_data(rng)
    return jax.random.fold_in(rng, place)


@functools.cache
def unusable_key(stream: str) -> jax.Array:
    """A key that can be split and folded in, but from which nothing can be drawn: what a stream has in evaluation.

    A stream may give keys to layers that do not use them, so to refuse its keys would refuse sound modules.

    Args:
        stream: its name, for the message.

    Returns:
        A typed key; drawing raises a ValueError, in a trace when that is lowered.

    >>> key = jax.random.split(unusable_key("dropout"))[0]
    >>> try:
    ...     jax.random.normal(key, (3,))
    ... except ValueError as error:
    ...     print(str(error).split(",")[0])
    the module draws from its random stream 'dropout' in evaluation mode (rng=None)
    """

    def refuse(*_: Any) -> jax.Array:
        raise ValueError(
            f"the module draws from its random stream {stream!r} in evaluation mode (rng=None), where nothing may be "
            "random; allowed: to follow its attribute `deterministic`, as nnx.Dropout does, which is True there"
        )

    unchanged = jax.extend.random.define_prng_impl(
        name=f"evaluation of {stream}",
        tag="evaluation",
        key_shape=(1,),
        seed=lambda seed: jnp.zeros(1, jnp.uint32),
        split=lambda key, shape: jnp.broadcast_to(key, (*shape, 1)),
        fold_in=lambda key, _: key,
        random_bits=refuse,
    )
    with jax.ensure_compile_time_eval():
        return jax.random.key(0, impl=unchanged)
