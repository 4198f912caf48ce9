"""Pytrees as one long vector for each type: what is compiled then does not grow with the number of leaves."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tricks.curvature.division import Division
from tricks.curvature.placement import placed_like, whole

Vectors = dict[Any, jax.Array]


def joined(tree: Any, *others: Any) -> tuple[Vectors, Callable[[Vectors], Any]]:
    """The leaves of a pytree, end to end where their types are the same.

    Args:
        tree: a pytree of arrays.
        others: pytrees of its structure; leaves are joined where these, too, have equal types.

    Returns:
        The vectors by their types, those of `tree` first; and a function that takes vectors of such lengths apart into
        a pytree with the structure, the shapes and the explicit shardings of `tree`.

    >>> vectors, split = joined({"a": jnp.ones((2, 3)), "b": jnp.zeros(1, jnp.int32), "c": jnp.ones(())})
    >>> {types: vector.shape for types, vector in vectors.items()}
    {('float32',): (7,), ('int32',): (1,)}
    >>> split({types: 2 * vector for types, vector in vectors.items()})["c"].tolist()
    2.0
    """
    leaves, structure = jax.tree.flatten(tree)
    types = [jax.tree.leaves(jax.tree.map(lambda leaf: jnp.result_type(leaf).name, each)) for each in (tree, *others)]
    kinds = list(zip(*types, strict=True))
    places = {kind: [place for place, other in enumerate(kinds) if other == kind] for kind in kinds}
    vectors = {
        kind: jnp.concatenate([jnp.ravel(whole(leaves[place])) for place in of_kind])
        for kind, of_kind in places.items()
    }

    def split(vectors: Vectors) -> Any:
        parts: list[Any] = list(leaves)
        for kind, of_kind in places.items():
            shapes = [jnp.shape(leaves[place]) for place in of_kind]
            ends = itertools.accumulate(math.prod(shape) for shape in shapes)
            for place, shape, end in zip(of_kind, shapes, ends, strict=True):
                part = vectors[kind][end - math.prod(shape) : end].reshape(shape)
                parts[place] = placed_like(part, leaves[place])
        return jax.tree.unflatten(structure, parts)

    return vectors, split


def apart(tree: Any, other: Any, division: Division) -> tuple[Vectors, Callable[[Vectors], Any], Division]:
    """The leaves of a pytree that is divided among devices, each for itself, in the order that `joined` has them in.

    Args:
        tree: a pytree of arrays.
        other: a pytree of its structure, with other types.
        division: of the leaves of `tree`.

    Returns:
        The leaves by their types and places; a function that makes a pytree of such; and the division of them.
    """
    leaves, structure = jax.tree.flatten(tree)
    types = [[jnp.result_type(leaf).name for leaf in jax.tree.leaves(each)] for each in (tree, other)]
    keys = list(zip(*types, range(len(leaves)), strict=True))
    vectors = dict(zip(keys, leaves, strict=True))

    def split(vectors: Vectors) -> Any:
        return jax.tree.unflatten(structure, [vectors[key] for key in keys])

    dimensions = tuple(division.dimensions[key[-1]] for key in sorted(keys))
    return vectors, split, dataclasses.replace(division, dimensions=dimensions)
