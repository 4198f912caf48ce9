"""Vectors of parameters that are divided among devices: each device keeps its part of every leaf, end to end.

The entries of such a long vector stand in another order than `jax.flatten_util.ravel_pytree` gives them. Products,
norms and bases do not depend on the order; and no device ever needs more than its part of a divided leaf.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec


@dataclasses.dataclass(frozen=True)
class Division:
    """How the leaves of a pytree are divided along one axis of a mesh.

    Attributes:
        mesh: the devices.
        axis: of the mesh, that leaves are divided along.
        dimensions: of each leaf, the one that is divided; None for a leaf that every device holds whole.
    """

    mesh: Mesh
    axis: str
    dimensions: tuple[int | None, ...]

    @property
    def shards(self) -> int:
        """Parts of each divided leaf."""
        return int(self.mesh.shape[self.axis])

    @property
    def of_vector(self) -> NamedSharding:
        """The sharding of a long vector."""
        return NamedSharding(self.mesh, PartitionSpec(self.axis))

    def constrained(self, tree: Any) -> Any:
        """A pytree with its leaves where they belong, inside `jit` too."""
        leaves, structure = jax.tree.flatten(tree)
        placed = [
            jax.lax.with_sharding_constraint(leaf, self._sharding(jnp.ndim(leaf), dimension))
            for leaf, dimension in zip(leaves, self.dimensions, strict=True)
        ]
        return jax.tree.unflatten(structure, placed)

    def _sharding(self, dimensions: int, divided: int | None) -> NamedSharding:
        axes = [self.axis if place == divided else None for place in range(dimensions)]
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def division_of(tree: Any) -> Division | None:
    """How the arrays of a pytree are divided, by their own shardings.

    Args:
        tree: arrays.

    Returns:
        None where they are not known, lie on one device each or whole on all, or are divided in more than one way.

    >>> division_of({"a": jnp.ones(2)}) is None
    True
    """
    leaves = jax.tree.leaves(tree)
    if any(isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array) for leaf in leaves):
        return None
    shardings = [leaf.sharding for leaf in leaves]
    if not all(isinstance(sharding, NamedSharding) for sharding in shardings):
        return None
    specs = [[*sharding.spec] for sharding in shardings]
    axes = {axis for spec in specs for axis in spec if axis is not None}
    if len(axes) != 1 or len({sharding.mesh for sharding in shardings}) != 1:
        return None
    (axis,) = axes
    if not isinstance(axis, str) or any(kind != jax.sharding.AxisType.Auto for kind in shardings[0].mesh.axis_types):
        return None
    return Division(shardings[0].mesh, axis, tuple(spec.index(axis) if axis in spec else None for spec in specs))


def divided(
    like: Any, division: Division, dtype: Any, multiple: int
) -> tuple[Callable[[Any], jax.Array], Callable[[jax.Array], Any], int]:
    """Long vectors of a divided pytree.

    Args:
        like: a pytree with the structure, shapes and types.
        division: of its leaves.
        dtype: of the vectors.
        multiple: what the length of each device's part is to be divided by.

    Returns:
        A function from such pytrees to long vectors, one back, and the length of the vectors.
        They are somewhat longer than the leaves together; what is added is zeros.
    """
    leaves, structure = jax.tree.flatten(like)
    shards, shapes = division.shards, [jnp.shape(leaf) for leaf in leaves]
    types = [jnp.result_type(leaf) for leaf in leaves]
    # Of a leaf that is whole each device keeps its share of the entries.
    widths = [-(-math.prod(shape) // shards) for shape in shapes]
    width = -(-sum(widths) // multiple) * multiple
    by_row = NamedSharding(division.mesh, PartitionSpec(division.axis, None))

    def to_vector(tree: Any) -> jax.Array:
        parts = [
            _rows(leaf.astype(dtype), dimension, shards)
            for leaf, dimension in zip(jax.tree.leaves(division.constrained(tree)), division.dimensions, strict=True)
        ]
        parts = [jax.lax.with_sharding_constraint(part, by_row) for part in parts]
        rest = jnp.zeros((shards, width - sum(widths)), dtype)
        rows = jax.lax.with_sharding_constraint(jnp.concatenate([*parts, rest], axis=1), by_row)
        return jax.lax.with_sharding_constraint(rows.reshape(-1), division.of_vector)

    def to_tree(vector: jax.Array) -> Any:
        rows = jax.lax.with_sharding_constraint(vector.reshape(shards, width), by_row)
        found, start = [], 0
        for shape, part, kind, dimension in zip(shapes, widths, types, division.dimensions, strict=True):
            here = jax.lax.with_sharding_constraint(rows[:, start : start + part], by_row)
            found.append(_of_rows(here, shape, dimension, shards).astype(kind))
            start += part
        return division.constrained(jax.tree.unflatten(structure, found))

    return to_vector, to_tree, shards * width


def _rows(leaf: jax.Array, dimension: int | None, shards: int) -> jax.Array:
    """A leaf as a row for each device."""
    if dimension is None:
        flat = leaf.reshape(-1)
        return jnp.pad(flat, (0, -flat.size % shards)).reshape(shards, -1)
    shape = leaf.shape
    cut = leaf.reshape(*shape[:dimension], shards, shape[dimension] // shards, *shape[dimension + 1 :])
    return jnp.moveaxis(cut, dimension, 0).reshape(shards, -1)


def _of_rows(rows: jax.Array, shape: tuple[int, ...], dimension: int | None, shards: int) -> jax.Array:
    if dimension is None:
        return rows.reshape(-1)[: math.prod(shape)].reshape(shape)
    cut = rows.reshape(shards, *shape[:dimension], shape[dimension] // shards, *shape[dimension + 1 :])
    return jnp.moveaxis(cut, 0, dimension).reshape(shape)
