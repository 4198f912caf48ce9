"""How a pytree is kept in a checkpoint: scalars as text beside the arrays, with what is needed to tell damage from a
checkpoint of another run."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tricks.training.placement import put

_SEAL = "seal"
_SHOWN = 3


def split(tree: Any) -> tuple[Any, dict[str, str]]:
    """The arrays, with None for the scalars, and those by name: a file for each would take longer than the weights.

    Scalars are the hexadecimal digits of their bytes, which keep what a number in JSON would not: which NaN it is.

    Args:
        tree: a pytree of arrays.

    Returns:
        A pytree of the same structure, and the scalars by their paths.

    >>> split({"a": np.ones(2, np.int8), "b": np.int16(1)})
    ({'a': array([1, 1], dtype=int8), 'b': None}, {"['b']": '0100'})
    """
    paths, _ = jax.tree.flatten_with_path(tree)
    scalars = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes().hex() for path, leaf in paths if is_scalar(leaf)}
    return jax.tree.map(lambda leaf: None if is_scalar(leaf) else leaf, tree), scalars


def join(arrays: Any, scalars: Mapping[str, str], like: Any) -> Any:
    """The arrays of a checkpoint with its scalars put back.

    Args:
        arrays: with None for scalars.
        scalars: the bytes of each in hexadecimal digits, by its path.
        like: a pytree with the types and shardings.

    Returns:
        A pytree of the structure of `like`.
    """

    def one(path: Any, like: jax.Array, stored: Any) -> Any:
        if not is_scalar(like):
            return stored
        kept = bytes.fromhex(scalars[jax.tree_util.keystr(path)])
        return put(np.frombuffer(kept, like.dtype).reshape(()), like.sharding)

    return jax.tree.map_with_path(one, like, arrays)


def is_scalar(leaf: Any) -> bool:
    """Whether a leaf is kept as text."""
    return leaf.ndim == 0 and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def layout(tree: Any) -> dict[str, str]:
    """Type and shape of every leaf by its path.

    >>> layout({"w": np.zeros((2, 3), np.float32), "n": np.int32(1)})
    {"['n']": 'int32[]', "['w']": 'float32[2,3]'}
    """
    paths, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in paths}


def difference(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """In what two layouts differ, in words; empty where they do not.

    >>> difference({"['w']": "float32[2,3]"}, {"['w']": "float64[2,3]"})
    "['w'] is float32[2,3] there, float64[2,3] here"
    """
    differing = [
        f"{path} is {stored.get(path, 'missing')} there, {wanted.get(path, 'missing')} here"
        for path in {**stored, **wanted}
        if stored.get(path) != wanted.get(path)
    ]
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return "; ".join(differing[:_SHOWN]) + more


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values with a checksum of their own.

    >>> opened(sealed({"step": 1}))
    {'step': 1}
    """
    return {**content, _SEAL: _crc(content)}


def opened(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `sealed` was given; what older versions wrote has no checksum, and is taken as it is.

    Raises:
        ValueError: it was changed since.

    >>> opened({**sealed({"step": 1}), "step": 2})
    Traceback (most recent call last):
    ...
    ValueError: its progress has a wrong checksum
    """
    rest = {name: value for name, value in content.items() if name != _SEAL}
    if _SEAL in content and content[_SEAL] != _crc(rest):
        raise ValueError("its progress has a wrong checksum")
    return rest


def _crc(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _gathered(leaf: Any) -> Any:
    """All of an array, of which processes hold parts: one array at a time, so that no more than that is ever whole."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return leaf
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(leaf, tiled=True)


def checksum(tree: Any) -> int:
    """Of all bytes of a pytree of arrays.

    >>> checksum({"a": np.zeros(2)}) == checksum({"a": np.ones(2)})
    False
    """
    total = 0
    for leaf in jax.tree.leaves(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        total = zlib.crc32(np.ascontiguousarray(_gathered(leaf)).view(np.uint8).data, total)
    return total
