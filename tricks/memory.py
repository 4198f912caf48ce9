"""Refuses what the memory cannot hold, before it is made."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from tricks.errors import UserError

__all__ = ["available", "bytes_of", "require_memory", "require_room"]

_BESIDE = 8  # Vectors that a search holds beside its basis, at most.


def require_memory(name: str, vectors: int, like: Any, sharding: Sharding | None = None) -> None:
    """Refuses more vectors than a device has room for.

    Args:
        name: of the argument that asks for them.
        vectors: their number.
        like: a pytree of the shapes and types of one; what is narrower than float32 is widened to it.
        sharding: of each, as one long vector; None where it is all on one device.

    Raises:
        UserError: with what they need and what is free.

    >>> require_memory("basis_size", 40, jnp.ones(10))
    """
    vector = sum(leaf.size * max(leaf.dtype.itemsize, 4) for leaf in _leaves(like))
    needed, free = (vectors + _BESIDE) * vector * _share(sharding), available()
    if free is not None and needed > free:
        raise UserError(
            f"{name} is {vectors}, {needed / 2**30:.1f} GiB of vectors of {vector / 2**20:.0f} MiB; "
            f"{free / 2**30:.1f} GiB are free: choose fewer"
        )


def require_room(needed: float, what: str, advice: str) -> None:
    """Refuses what a device has no room for.

    Args:
        needed: bytes.
        what: it is for.
        advice: what to do.

    Raises:
        UserError: with what is needed and what is free.

    >>> require_room(1e15, "weights", "choose a smaller network")
    Traceback (most recent call last):
    ...
    tricks.errors.UserError: out of memory: weights take 931322.6 GiB, ... GiB are free; choose a smaller network
    """
    free = available()
    if free is not None and needed > free:
        raise UserError(
            f"out of memory: {what} take {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; {advice}"
        )


def bytes_of(like: Any) -> int:
    """Bytes of a pytree of arrays, or of their shapes.

    >>> bytes_of({"a": jnp.ones((2, 3), jnp.float32)})
    24
    """
    return sum(leaf.size * leaf.dtype.itemsize for leaf in _leaves(like))


def _leaves(like: Any) -> list[Any]:
    return [leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf) for leaf in jax.tree.leaves(like)]


def available() -> float | None:
    """Bytes that are free on the first device, or of the machine for a CPU; None where nobody says.

    What the machine keeps of files it gives back when it is asked to; it counts as free.

    >>> available() > 0
    True
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"] - stats["bytes_in_use"])
    return min(_of_the_machine(), default=None)


def _of_the_machine() -> Iterator[float]:
    found = re.search(r"^MemAvailable: +(\d+) kB$", _text("/proc/meminfo"), re.M)
    if found:
        yield 1024.0 * int(found[1])
    else:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            yield float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    # Of a container.
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        files = re.search(r"^file (\d+)$", _text("/sys/fs/cgroup/memory.stat"), re.M)
        yield float(int(limit) - int(used) + (int(files[1]) if files else 0))


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _share(sharding: Sharding | None) -> float:
    """Of a long vector, what comes to one memory: devices that are parts of a CPU share theirs."""
    devices = 1 if sharding is None else len(sharding.device_set)
    if sharding is None or devices == 1:
        return 1.0
    length = math.lcm(devices, 2**10)
    part = math.prod(sharding.shard_shape((length,))) / length
    return part * devices if jax.default_backend() == "cpu" else part
