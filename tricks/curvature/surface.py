"""The loss on a plane through a point."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tricks.arguments import require_integer, require_key, require_positive
from tricks.curvature import trees
from tricks.curvature.batches import grouped, mean_over
from tricks.curvature.captured import call, captured
from tricks.curvature.products import Loss, Scalar, explained


class Surface(NamedTuple):
    """L(point + a u + b v) on a grid."""

    first: jax.Array
    """(points,): a, from -radius to radius."""
    second: jax.Array
    """(points,): b."""
    losses: jax.Array
    """(points of b, points of a)."""


def error_surface(
    loss_fn: Loss,
    params: Any,
    directions: tuple[Any, Any],
    *,
    batches: Sequence[Any] | None = None,
    radius: float = 1.0,
    points: int = 25,
) -> Surface:
    """The loss on a square of the plane that two directions span: the lectures' picture of a critical point.

    Two eigenvectors show a saddle as one; the gradient and an eigenvector show where training goes beside where it
    could go; two of `filter_normalized_direction` compare the surroundings of different networks.

    Args:
        loss_fn: `loss_fn(params) -> scalar`, or with `batches` `loss_fn(params, batch) -> scalar`.
        params: the middle of the square.
        directions: u and v, pytrees like `params`; taken as they are, neither normalized nor made orthogonal.
        batches: as for `hessian`.
        radius: half of the square's width, in units of u and of v.
        points: on each side, 2 or more; an odd number has the middle among them.

    Returns:
        `Surface`.

    Raises:
        ValueError: for directions of another structure, a radius that is not above 0, or fewer than 2 points.

    >>> surface = error_surface(lambda w: w[0] ** 2 - w[1] ** 2, jnp.zeros(2), tuple(jnp.eye(2)), points=3)
    >>> surface.losses.tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 1.0], [0.0, -1.0, 0.0]]

    Source: the lectures on critical points; Li et al., arXiv 1712.09913.
    """
    trees.require_floating("params", params)
    if len(directions) != 2:
        raise ValueError(f"directions has {len(directions)} members; allowed: 2")
    for i, direction in enumerate(directions):
        trees.require_like(f"directions[{i}]", direction, params)
    require_positive("radius", radius)
    require_integer("points", points, least=2)
    groups, shares = (None, None) if batches is None else grouped(batches)
    side = jnp.linspace(-radius, radius, points)
    arguments = params, directions, side, groups, shares
    with explained():
        losses = captured(partial(_losses, Scalar(loss_fn)), *arguments)
    return Surface(side, side, call(losses, *arguments))


def _losses(loss_fn: Loss, params: Any, directions: tuple[Any, Any], side: jax.Array, groups: Any, shares: Any) -> Any:
    def at(place: tuple[jax.Array, jax.Array]) -> jax.Array:
        point = trees.add(trees.add(params, directions[0], place[1]), directions[1], place[0])
        return mean_over(partial(loss_fn, point), groups, shares)

    b, a = jnp.meshgrid(side, side, indexing="ij")
    return jax.lax.map(at, (b.ravel(), a.ravel())).reshape(b.shape)


def filter_normalized_direction(params: Any, key: jax.Array) -> Any:
    """A random direction in which each filter (the inputs of one unit) has the norm of the network's own.

    So a step of 1 changes every unit in proportion to its weights, and networks of different scale can be compared.
    Biases and other vectors count as one filter each.

    Args:
        params: a pytree; the last dimension of kernels counts units, as in Flax.
        key: of the random numbers.

    Returns:
        A pytree like `params`.

    >>> params = {"kernel": jnp.array([[3.0, 0.0], [4.0, 2.0]])}
    >>> direction = filter_normalized_direction(params, jax.random.key(0))
    >>> [round(float(norm), 4) for norm in jnp.linalg.norm(direction["kernel"], axis=0)]
    [5.0, 2.0]

    Source: Li et al., arXiv 1712.09913.
    """
    require_key("key", key)
    trees.require_floating("params", params)

    def normalized(drawn: jax.Array, leaf: jax.Array) -> jax.Array:
        axes = tuple(range(leaf.ndim - 1)) if leaf.ndim > 1 else None
        own, other = (jnp.sqrt(jnp.sum(x**2, axis=axes, keepdims=True)) for x in (leaf, drawn))
        return drawn * (own / jnp.maximum(other, jnp.finfo(drawn.dtype).tiny))

    return jax.tree.map(normalized, trees.random_normal(key, params), params)
