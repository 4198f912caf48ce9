"""Pytrees of arrays as the vectors of linear algebra."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tricks.masks import marked


def size(tree: Any) -> int:
    """Number of scalars.

    >>> size({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
    9
    """
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))


@jax.jit
def dot(a: Any, b: Any) -> jax.Array:
    """Sum over all entries of a times b.

    >>> float(dot({"x": jnp.ones(2), "y": jnp.ones(())}, {"x": jnp.ones(2), "y": jnp.full((), 3.0)}))
    5.0
    """
    parts = jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)
    return sum(jax.tree.leaves(parts), jnp.zeros([]))


@jax.jit
def norm(tree: Any) -> jax.Array:
    """Square root of the sum of all squares.

    >>> float(norm([jnp.array([3.0]), jnp.array(4.0)]))
    5.0
    """
    largest = jnp.zeros([])
    for leaf in jax.tree.leaves(tree):
        largest = jnp.maximum(largest, jnp.max(jnp.abs(leaf), initial=0))
    # The squares of what is very small or very large are out of range.
    scaled = jax.tree.map(lambda x: x / jnp.where(largest > 0, largest, 1).astype(x.dtype), tree)
    return largest * jnp.sqrt(dot(scaled, scaled))


def epsilon(tree: Any) -> float:
    """The precision of the coarsest leaf.

    >>> epsilon([jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float32)])
    0.0078125
    """
    return max(float(jnp.finfo(jnp.result_type(leaf)).eps) for leaf in jax.tree.leaves(tree))


def widened(tree: Any) -> Any:
    """With what is narrower than float32 as float32.

    >>> [leaf.dtype.name for leaf in widened([jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.int32), jnp.ones(())])]
    ['float32', 'int32', 'float32']
    """

    def wide(leaf: Any) -> Any:
        narrow = jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and jnp.finfo(jnp.result_type(leaf)).bits < 32
        return jnp.asarray(leaf, jnp.float32) if narrow else leaf

    return jax.tree.map(wide, tree)


@jax.jit
def scale(factor: Any, tree: Any) -> Any:
    """factor times every entry.

    >>> scale(2.0, [jnp.ones(2)])[0].tolist()
    [2.0, 2.0]
    """
    return jax.tree.map(lambda x: jnp.asarray(factor, x.dtype) * x, tree)


@jax.jit
def add(a: Any, b: Any, factor: Any = 1.0) -> Any:
    """a + factor b.

    >>> add(jnp.ones(2), jnp.ones(2), -3.0).tolist()
    [-2.0, -2.0]
    """
    return jax.tree.map(lambda x, y: x + jnp.asarray(factor, x.dtype) * y, a, b)


def random_normal(key: jax.Array, like: Any) -> Any:
    """Independent standard normal entries, of the structure, shapes and types of `like`.

    >>> random_normal(jax.random.key(0), {"x": jnp.zeros((2, 3))})["x"].shape
    (2, 3)
    """
    return _drawn(jax.random.normal, key, like)


def random_signs(key: jax.Array, like: Any) -> Any:
    """Independent entries of +1 and -1, of the structure, shapes and types of `like`.

    >>> sorted(set(random_signs(jax.random.key(0), jnp.zeros(100)).tolist()))
    [-1.0, 1.0]
    """
    return _drawn(jax.random.rademacher, key, like)


def _drawn(draw: Callable[..., jax.Array], key: jax.Array, like: Any) -> Any:
    # All at once: a generator for every leaf takes seconds to compile.
    leaves, structure = jax.tree.flatten(like)
    dtype = jnp.result_type(*leaves)
    drawn = draw(key, (size(like),), dtype)
    ends = itertools.accumulate(math.prod(jnp.shape(leaf)) for leaf in leaves)
    parts = [drawn[end - math.prod(jnp.shape(leaf)) : end] for leaf, end in zip(leaves, ends, strict=True)]
    shaped = [
        part.reshape(jnp.shape(leaf)).astype(jnp.result_type(leaf)) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shaped)


def split(params: Any, mask: Any) -> tuple[Any, Any]:
    """The chosen leaves and the others, each with None where the other has an array.

    Args:
        params: any pytree.
        mask: a pytree of booleans, or a prefix of one; None chooses all.

    Returns:
        Two pytrees.

    Raises:
        ValueError: for a mask of another structure, or one that chooses nothing.

    >>> split({"a": 1, "b": 2}, {"a": True, "b": False})
    ({'a': 1, 'b': None}, {'a': None, 'b': 2})
    """
    if mask is None:
        return params, jax.tree.map(lambda _: None, params)
    marks = marked(mask, params)
    if not any(jax.tree.leaves(marks)):
        raise ValueError("mask chooses no parameters; allowed: at least one True")
    chosen = jax.tree.map(lambda mark, leaf: leaf if mark else None, marks, params)
    return chosen, jax.tree.map(lambda mark, leaf: None if mark else leaf, marks, params)


def merge(chosen: Any, rest: Any) -> Any:
    """What `split` took apart.

    >>> merge({"a": 1, "b": None}, {"a": None, "b": 2})
    {'a': 1, 'b': 2}
    """
    return jax.tree.map(lambda c, r: r if c is None else c, chosen, rest, is_leaf=lambda x: x is None)


def split_like(tree: Any, chosen: Any) -> Any:
    """The leaves of a whole tree where `chosen` has one, and None elsewhere.

    >>> split_like({"a": 1, "b": 2}, {"a": 0, "b": None})
    {'a': 1, 'b': None}
    """
    return jax.tree.map(lambda c, t: None if c is None else t, chosen, tree, is_leaf=lambda x: x is None)


def require_floating(name: str, tree: Any) -> None:
    """Refuses leaves that are not floating-point arrays, and trees without leaves.

    Raises:
        ValueError: with the leaf's place and type.

    >>> require_floating("params", {"steps": jnp.int32(3)})
    Traceback (most recent call last):
    ...
    ValueError: params['steps'] is int32; allowed: floating-point arrays (hold others fixed: nnx.split, eqx.partition)
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if not leaves:
        raise ValueError(f"{name} has no leaves; allowed: a pytree with at least one array")
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype") and not isinstance(leaf, float | int | complex):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} is a {type(leaf).__name__}; allowed: floating-point arrays (of a "
                "module that holds more, take them apart and put them together in the loss: "
                "eqx.partition(model, eqx.is_inexact_array) and eqx.combine, or nnx.split(model, nnx.Param, ...) and "
                "nnx.merge)"
            )
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} is {jnp.result_type(leaf)}; allowed: floating-point arrays (hold "
                "others fixed: nnx.split, eqx.partition)"
            )
    if size(tree) == 0:
        raise ValueError(f"{name} has no entries; allowed: at least one number")


def require_like(name: str, tree: Any, like: Any) -> None:
    """Refuses a tree of another structure or with other shapes.

    Raises:
        ValueError: with the leaf's place, its shape, and the shape that is wanted.

    >>> require_like("vector", {"w": jnp.ones(2)}, {"w": jnp.ones(3)})
    Traceback (most recent call last):
    ...
    ValueError: vector['w'] has shape (2,); allowed: (3,), that of the parameters
    """
    if jax.tree.structure(tree) != jax.tree.structure(like):  # type: ignore[operator]
        raise ValueError(
            f"{name} has the structure {jax.tree.structure(tree)}; allowed: that of the parameters, "
            f"{jax.tree.structure(like)}"
        )
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True):
        if jnp.shape(leaf) != jnp.shape(wanted):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}; allowed: {jnp.shape(wanted)}, that "
                "of the parameters"
            )


@jax.jit
def _are_finite(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), tree)


def require_finite(name: str, tree: Any) -> None:
    """Refuses values that are not finite.

    Raises:
        ValueError: with the place of the first leaf that has one.

    >>> require_finite("the gradient", {"w": jnp.array([1.0, jnp.nan])})
    Traceback (most recent call last):
    ...
    ValueError: the gradient is not finite at ['w']; curvature needs a point where everything is finite
    """
    for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_are_finite(tree))):
        if not finite:
            place = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise ValueError(f"{name} is not finite{place}; curvature needs a point where everything is finite")
