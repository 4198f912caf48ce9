"""States of optimizers as older versions laid them out in checkpoints, so that their runs can go on."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from tricks.training import stored_tree
from tricks.transforms.adam import AdamState
from tricks.transforms.decay import DecayState
from tricks.transforms.learning_rate import LearningRateState
from tricks.transforms.trust_ratio import LambState


class _NamedLikeTheArgument(NamedTuple):
    """`LearningRateState` with the field that `optax.tree.set` found and nothing used."""

    count: jax.Array  # type: ignore[assignment]
    learning_rate: jax.Array


class _LambWithOneCount(NamedTuple):
    """`LambState` when its schedule of decay went by Adam's count."""

    count: jax.Array  # type: ignore[assignment]
    m: Any
    v: Any


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
    paths = list(paths)
    if any(path.endswith(".learning_rate") for path in paths):
        tree = _exchanged(tree, LearningRateState, lambda *node: _NamedLikeTheArgument(*node))
    if not any(path.endswith(".decay.count") for path in paths):
        tree = _exchanged(tree, LambState, lambda adam, _: _LambWithOneCount(*adam))
    return tree


def as_now(tree: Any) -> Any:
    """A tree of `as_stored`, with the states of today.

    >>> import jax.numpy as jnp
    >>> as_now(as_stored(LearningRateState(jnp.int32(3), jnp.float32(0.5)), [".learning_rate"]))._fields
    ('count', 'last_rate')
    """
    tree = _exchanged(tree, _LambWithOneCount, lambda *node: LambState(AdamState(*node), DecayState(node[0])))
    return _exchanged(tree, _NamedLikeTheArgument, LearningRateState)


def layouts(checkpoint: Path, scalars: Mapping[str, str], *wanted: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Types and shapes in a checkpoint of a version that did not write them beside it, and those that are wanted.

    Args:
        checkpoint: its folder.
        scalars: of its progress.
        wanted: pytrees of arrays, of `latest` and `best`, as `as_stored` gives them.

    Returns:
        Both, by the path of each leaf, for `stored_tree.difference`; of scalars only the size is known.
    """
    stored = {name: f"{len(digits) // 2} bytes" for name, digits in scalars.items()}
    here = {}
    for item, tree in zip(("latest", "best"), wanted, strict=True):
        for path, leaf in jax.tree.leaves_with_path(ocp.PyTreeCheckpointHandler().metadata(checkpoint / item).tree):
            stored[_name(item, path)] = f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree):
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.eval_shape(jax.random.key_data, leaf)
            if item == "latest" and stored_tree.is_scalar(leaf):
                here[jax.tree_util.keystr(path)] = f"{leaf.dtype.itemsize} bytes"
            else:
                here[_name(item, path)] = f"{leaf.dtype}{list(leaf.shape)}"
    return stored, here


def _name(item: str, path: Any) -> str:
    # Orbax keeps fields of tuples, keys and places alike.
    return ".".join([item, *(jax.tree_util.keystr((part,), simple=True) for part in path)])


def _exchanged(tree: Any, kind: type[tuple], other: Callable[..., Any]) -> Any:
    return jax.tree.map(
        lambda node: other(*node) if isinstance(node, kind) else node, tree, is_leaf=lambda node: isinstance(node, kind)
    )
