"""One step of an orthonormal Krylov basis, as the ends of a spectrum and its density both take it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from tricks.curvature.division import Division, divided
from tricks.curvature.placement import raveled
from tricks.random_words import random_words

Vector = jax.Array
_BLOCKS = 16
_MOST_PASSES = 3


class Flat(NamedTuple):
    """An operator on pytrees as one on long vectors, of which a few entries are always 0."""

    apply: Callable[[Vector], Vector]
    size: int
    """Entries that count."""
    dtype: Any
    """float32 at least."""
    zeros: Callable[[int], jax.Array]
    """That many vectors of zeros, as rows."""
    random: Callable[[jax.Array], Vector]
    """A key -> a unit vector in a random direction."""
    another: Callable[[jax.Array, jax.Array], Vector]
    """Two random words and a number -> a vector in a direction of its own, for use in loops: quick to compile."""
    rotated: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """As the function of that name, on every device for itself."""
    to_tree: Callable[[Vector], Any]


def flattened(apply: Callable[[Any], Any], like: Any, sharding: NamedSharding | Division | None = None) -> Flat:
    """An operator on pytrees as one on long vectors: what is compiled then does not grow with the number of leaves.

    Args:
        apply: the operator.
        like: a pytree with the structure, shapes and types of its vectors.
        sharding: of the long vectors, or of the leaves of `like`; None leaves that to the compiler.

    Returns:
        `Flat`. Vectors are a few entries longer than `like`, so that they divide evenly.

    >>> flat = flattened(lambda v: {"a": 2 * v["a"]}, {"a": jnp.ones((1, 2))})
    >>> float(jnp.linalg.norm(flat.apply(flat.random(jax.random.key(0))))), flat.size
    (2.0, 2)
    """
    if isinstance(sharding, Division):
        return _of_division(apply, like, sharding)
    leaves, unravel = raveled(like)
    dtype = jnp.promote_types(leaves.dtype, jnp.float32)
    shards = 1 if sharding is None else sharding.num_devices
    length = -(-leaves.size // (shards * _BLOCKS)) * shards * _BLOCKS
    turn, zeros = rotated, _zeros(length, dtype, sharding)
    if sharding is not None:
        turn = _rotated_apart(sharding)

    def lengthened(vector: Vector) -> Vector:
        return jnp.pad(vector.astype(dtype), (0, length - leaves.size))

    def to_tree(vector: Vector) -> Any:
        return unravel(vector[: leaves.size].astype(leaves.dtype))

    def random(key: jax.Array) -> Vector:
        return lengthened(_direction(key, leaves.size, dtype))

    def another(words: jax.Array, number: jax.Array) -> Vector:
        return lengthened(_another(words, number, leaves.size, dtype))

    def of_vector(vector: Vector) -> Vector:
        return lengthened(raveled(apply(to_tree(vector)))[0])

    return Flat(of_vector, leaves.size, dtype, zeros, random, another, turn, to_tree)


def _of_division(apply: Callable[[Any], Any], like: Any, division: Division) -> Flat:
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(like)), jnp.float32)
    size = sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(like))
    to_vector, to_tree, length = divided(like, division, dtype, _BLOCKS)
    wide = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), dtype), like)

    # Drawn in the order of whole leaves, so that a search goes the same way on any number of devices.
    def random(key: jax.Array) -> Vector:
        return to_vector(raveled(wide)[1](_direction(key, size, dtype)))

    def another(words: jax.Array, number: jax.Array) -> Vector:
        return to_vector(raveled(wide)[1](_another(words, number, size, dtype)))

    def of_vector(vector: Vector) -> Vector:
        return to_vector(apply(to_tree(vector)))

    return Flat(
        of_vector,
        size,
        dtype,
        _zeros(length, dtype, division.of_vector),
        random,
        another,
        _rotated_apart(division.of_vector),
        to_tree,
    )


def _direction(key: jax.Array, size: int, dtype: Any) -> Vector:
    drawn = jax.random.normal(key, (size,), dtype)
    return drawn / jnp.linalg.norm(drawn)


def _another(words: jax.Array, number: jax.Array, size: int, dtype: Any) -> Vector:
    mixed = random_words(words[0], words[1] + number.astype(jnp.uint32), (size,))
    return jax.lax.bitcast_convert_type(mixed, jnp.int32).astype(dtype) / 2.0**31


def _zeros(length: int, dtype: Any, sharding: NamedSharding | None) -> Callable[[int], jax.Array]:
    def zeros(rows: int) -> jax.Array:
        basis = jnp.zeros((rows, length), dtype)
        return basis if sharding is None else jax.lax.with_sharding_constraint(basis, _of_basis(sharding))

    return zeros


def _rotated_apart(sharding: NamedSharding) -> Callable[..., jax.Array]:
    rows = _of_basis(sharding).spec
    specs = PartitionSpec(), rows, PartitionSpec()
    return jax.shard_map(rotated, mesh=sharding.mesh, in_specs=specs, out_specs=rows)


def _of_basis(sharding: NamedSharding) -> NamedSharding:
    return NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b, with all digits also where the default is fewer.

    >>> matmul(jnp.eye(2), jnp.ones(2)).tolist()
    [1.0, 1.0]
    """
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def length(vector: Vector) -> jax.Array:
    """|v|, also where the squares of its entries are out of range.

    >>> round(float(length(jnp.array([3e-30, 4e-30])) * 1e30), 4)
    5.0
    """
    largest = jnp.max(jnp.abs(vector))
    return largest * jnp.linalg.norm(vector / jnp.where(largest > 0, largest, 1))


def orthogonalized(w: Vector, basis: jax.Array, nearest: jax.Array | int | None = None) -> tuple[Vector, jax.Array]:
    """w without its part in a basis, and that part.

    A pass over the basis leaves rounding of what it took away; so where that was more than what is left, another
    follows.

    Args:
        w: (n,).
        basis: (m, n), orthonormal rows, or rows of zeros.
        nearest: a row that has, with the one before it, nearly all of w's part. That is then taken away first, by two
            vectors, and a pass is spared.

    Returns:
        (n,), and the coefficients (m,).

    >>> orthogonalized(jnp.array([3.0, 4.0]), jnp.array([[1.0, 0.0]]))[0].tolist()
    [0.0, 4.0]
    """
    h = jnp.zeros(len(basis), w.dtype)
    if nearest is not None:
        # Of row 0 it is the same one twice, and nothing then.
        for row in (nearest, jnp.maximum(nearest - 1, 0)):
            v = row_of(basis, row)
            part = matmul(v, w)
            w, h = w - part * v, h + jnp.where(jnp.arange(len(h)) == row, part, 0)

    def once(parts: _Passes) -> _Passes:
        taken = matmul(basis, parts.w)
        left = parts.w - matmul(taken, basis)
        return _Passes(left, parts.h + taken, parts.passes + 1, length(taken) > length(left))

    # A loop, so that it is compiled once.
    start = _Passes(w, h, jnp.int32(0), jnp.bool_(True) | (w[0] != w[0]))
    end = jax.lax.while_loop(lambda parts: parts.wanted & (parts.passes < _MOST_PASSES), once, start)
    return end.w, end.h


class _Passes(NamedTuple):
    w: Vector
    h: jax.Array
    passes: jax.Array
    wanted: jax.Array


def extended(
    apply: Callable[[Vector], Vector], basis: jax.Array, projected: jax.Array, row: jax.Array
) -> tuple[Vector, jax.Array]:
    """The product with a row of the basis: its part outside, and the projected operator with that row filled in.

    Args:
        apply: the operator.
        basis: (m + 1, n), orthonormal rows up to `row`, zeros after it.
        projected: (m, m).
        row: which.

    Returns:
        (n,) and (m, m).

    >>> w, projected = extended(lambda v: 2 * v, jnp.eye(2)[:2], jnp.zeros((1, 1)), 0)
    >>> w.tolist(), projected.tolist()
    ([0.0, 0.0], [[2.0]])
    """
    w, h = orthogonalized(apply(row_of(basis, row)), basis, row)
    return w, bordered(projected, row, h[: len(projected)])


def row_of(array: jax.Array, index: jax.Array | int) -> jax.Array:
    """array[index] of an index that is in range, without the checks of it that take longer to compile.

    >>> row_of(jnp.eye(2), 1).tolist()
    [0.0, 1.0]
    """
    return jax.lax.dynamic_index_in_dim(array, jnp.uint32(index), keepdims=False)


def bordered(matrix: jax.Array, index: jax.Array | int, row: jax.Array) -> jax.Array:
    """A matrix with a row, and a column that is the same.

    >>> bordered(jnp.zeros((2, 2)), 1, jnp.array([1.0, 2.0])).tolist()
    [[0.0, 1.0], [1.0, 2.0]]
    """
    here = jnp.arange(len(row)) == index
    return jnp.where(here[:, None], row[None], jnp.where(here[None], row[:, None], matrix))


def is_rounding(beta: jax.Array, norm: jax.Array) -> jax.Array:
    """Whether a length is so small beside the norm of the operator that it is rounding and no direction.

    >>> bool(is_rounding(jnp.float32(1e-8), jnp.float32(1.0)))
    True
    """
    return beta <= 10 * jnp.finfo(beta.dtype).eps * norm


def next_unit(w: Vector, basis: jax.Array, leaves: jax.Array, elsewhere: Callable[[], Vector]) -> Vector:
    """The direction of w, or where the space is left another one outside the basis.

    Args:
        w: (n,), orthogonal to the basis.
        basis: (m, n).
        leaves: whether w is not to be followed.
        elsewhere: gives the other direction, (n,), which may have a part in the basis.

    Returns:
        (n,), a unit vector, or zeros when there is nothing outside.

    >>> next_unit(jnp.array([0.0, 3.0]), jnp.array([[1.0, 0.0]]), jnp.bool_(False), lambda: jnp.ones(2)).tolist()
    [0.0, 1.0]
    """
    following = jax.lax.cond(leaves, lambda: orthogonalized(elsewhere(), basis)[0], lambda: w)
    return following / jnp.maximum(length(following), jnp.finfo(w.dtype).tiny)


def rotated(rotation: jax.Array, basis: jax.Array, wanted: jax.Array) -> jax.Array:
    """rotation basis where that is wanted, in place: a block of columns at a time.

    Args:
        rotation: (m, m).
        basis: (m, n), n a multiple of 16.
        wanted: a boolean; otherwise the basis stays as it is.

    Returns:
        (m, n).

    >>> basis = jnp.array([[1.0] * 16, [2.0] * 16])
    >>> rotated(jnp.array([[0.0, 1.0], [1.0, 0.0]]), basis, jnp.bool_(True))[:, -1].tolist()
    [2.0, 1.0]
    """
    width = basis.shape[1] // _BLOCKS

    def turn(block: jax.Array, basis: jax.Array) -> jax.Array:
        start = jnp.uint32(block) * width
        columns = jax.lax.dynamic_slice_in_dim(basis, start, width, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(basis, matmul(rotation, columns), start, axis=1)

    return jax.lax.fori_loop(0, jnp.where(wanted, _BLOCKS, 0), turn, basis)
