"""States of optimizers as older versions laid them out in checkpoints, so that their runs can go on."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from tricks.transforms.learning_rate import LearningRateState


class _NamedLikeTheArgument(NamedTuple):
    """`LearningRateState` with the field that `optax.tree.set` found and nothing used."""

    count: jax.Array  # type: ignore[assignment]
    learning_rate: jax.Array


def as_stored(tree: Any, paths: Iterable[str]) -> Any:
    """A tree laid out as the checkpoint is.

    Args:
        tree: with the states of today.
        paths: of the leaves in the checkpoint, as `stored_tree.layout` names them.

    Returns:
        The same leaves, in states of the version that wrote the checkpoint.

    >>> import jax.numpy as jnp
    >>> as_stored(LearningRateState(jnp.int32(3), jnp.float32(0.5)), [".count", ".learning_rate"])._fields
    ('count', 'learning_rate')
    """
    is_older = any(path.endswith(".learning_rate") for path in paths)
    return _exchanged(tree, LearningRateState, _NamedLikeTheArgument) if is_older else tree


def as_now(tree: Any) -> Any:
    """A tree of `as_stored`, with the states of today.

    >>> import jax.numpy as jnp
    >>> as_now(as_stored(LearningRateState(jnp.int32(3), jnp.float32(0.5)), [".learning_rate"]))._fields
    ('count', 'last_rate')
    """
    return _exchanged(tree, _NamedLikeTheArgument, LearningRateState)


def _exchanged(tree: Any, kind: type[tuple], other: Callable[..., Any]) -> Any:
    return jax.tree.map(
        lambda node: other(*node) if isinstance(node, kind) else node, tree, is_leaf=lambda node: isinstance(node, kind)
    )
