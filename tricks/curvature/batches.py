"""Means over many batches, weighted by their examples."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def grouped(batches: Sequence[Any]) -> tuple[list[Any], list[jax.Array]]:
    """Stacks batches of equal shapes, and gives each its share of all examples.

    Args:
        batches: pytrees of arrays whose first dimension counts examples.

    Returns:
        For each shape the stacked batches, or a lone one as it is, and the share of each.

    Raises:
        ValueError: for no batches, or a batch without examples or with leaves of different numbers of them.

    >>> groups, shares = grouped([jnp.ones((3, 2)), jnp.ones((3, 2)), jnp.ones((2, 2))])
    >>> [group.shape for group in groups], [share.tolist() for share in shares]
    ([(2, 3, 2), (2, 2)], [[0.375, 0.375], [0.25]])
    """
    if hasattr(batches, "shape"):
        raise ValueError(f"batches is an array of shape {batches.shape}; allowed: a list of batches, such as [(x, y)]")
    if isinstance(batches, dict):
        raise ValueError("batches is a dict; allowed: a list of batches, such as [{'x': x, 'y': y}]")
    one = isinstance(batches, tuple)
    batches = list(batches)
    shapes = [jnp.shape(batch) for batch in batches if hasattr(batch, "shape")]
    if len(shapes) > 1 and (one or len({shape[1:] for shape in shapes}) > 1):
        raise ValueError(
            f"batches holds arrays of shapes {shapes}, which look like the parts of one batch; allowed: a list of "
            "batches, such as [(x, y)]"
        )
    if not batches:
        raise ValueError("batches is empty; allowed: one batch or more, or None for a loss of the parameters alone")
    stacks: dict[Any, list[Any]] = {}
    counts: dict[Any, int] = {}
    for i, batch in enumerate(batches):
        leaves, structure = jax.tree.flatten(batch)
        count = count_examples(f"batches[{i}]", batch)
        key = structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        stacks.setdefault(key, []).append(batch)
        counts[key] = count
    total = sum(counts[key] * len(stack) for key, stack in stacks.items())
    groups = [
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *stack) if len(stack) > 1 else stack[0]
        for stack in stacks.values()
    ]
    return groups, [jnp.full(len(stack), counts[key] / total) for key, stack in stacks.items()]


def count_examples(name: str, batch: Any) -> int:
    """First dimension of all leaves of a batch.

    Raises:
        ValueError: where they have none, or differ.

    >>> count_examples("batch", (jnp.ones((3, 2)), jnp.ones(3)))
    3
    """
    leaves = jax.tree.leaves(batch)
    if not leaves or any(jnp.ndim(leaf) == 0 for leaf in leaves) or len({len(leaf) for leaf in leaves}) != 1:
        raise ValueError(
            f"{name} has leaves of shapes {[jnp.shape(leaf) for leaf in leaves]}; allowed: arrays with the same first "
            "dimension, the number of examples"
        )
    if len(leaves[0]) == 0:
        raise ValueError(f"{name} has no examples; allowed: 1 or more")
    return len(leaves[0])


def mean_over(function: Callable[..., Any], groups: list[Any] | None, shares: list[jax.Array] | None) -> Any:
    """Sum over all batches of their share times the function of them, a batch at a time.

    Args:
        function: `function(batch) -> pytree`; `function()` without groups.
        groups: as `grouped` gives them; None where there are no batches.
        shares: likewise.

    Returns:
        A pytree as the function gives it.

    >>> groups, shares = grouped([jnp.array([1.0, 2.0, 3.0]), jnp.array([7.0])])
    >>> float(mean_over(jnp.mean, groups, shares))
    3.25
    """
    if groups is None or shares is None:
        return function()
    parts = [_of_group(function, group, share) for group, share in zip(groups, shares, strict=True)]
    return jax.tree.map(lambda *p: sum(p[1:], p[0]), *parts)


def _of_group(function: Callable[..., Any], group: Any, shares: jax.Array) -> Any:
    def weighted(batch: Any, share: jax.Array) -> Any:
        return jax.tree.map(lambda f: share.astype(f.dtype) * f, function(batch))

    if len(shares) == 1:
        return weighted(group, shares[0])

    def body(total: Any, x: tuple[Any, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, weighted(*x)), None

    first = jax.tree.map(lambda a: a[0], group)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, first))
    return jax.lax.scan(body, zeros, (group, shares))[0]
