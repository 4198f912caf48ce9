"""Refuses what the memory cannot hold, before it is made."""

import os
from typing import Any

import jax
import jax.numpy as jnp

_BESIDE = 8  # Vectors that a search holds beside its basis, at most.


def require_memory(name: str, vectors: int, like: Any) -> None:
    """Refuses more vectors than are free.

    Args:
        name: of the argument that asks for them.
        vectors: their number.
        like: a pytree of the shapes and types of one.

    Raises:
        ValueError: with what they need and what is free.

    >>> require_memory("basis_size", 40, jnp.ones(10))
    """
    vector = bytes_of(like)
    needed, available = (vectors + _BESIDE) * vector, _available()
    if available is not None and needed > available:
        raise ValueError(
            f"{name} is {vectors}, {needed / 2**30:.1f} GiB of vectors of {vector / 2**20:.0f} MiB; "
            f"{available / 2**30:.1f} GiB are free: choose fewer"
        )


def bytes_of(like: Any) -> int:
    """Bytes of a pytree of arrays.

    >>> bytes_of({"a": jnp.ones((2, 3), jnp.float32)})
    24
    """
    return sum(leaf.size * leaf.dtype.itemsize for leaf in map(jnp.asarray, jax.tree.leaves(like)))


def _available() -> float | None:
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"] - stats["bytes_in_use"])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return None
