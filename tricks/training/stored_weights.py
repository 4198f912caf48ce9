"""The weights in a folder of checkpoints, for those who only read: nothing is locked, moved or removed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tricks.errors import UserError
from tricks.training.state import Weights
from tricks.training.stored_state import newest, read_progress
from tricks.training.stored_tree import checksum, join, layout

LAST, BEST = "last", "best"


def read(directory: Path, which: str, like: Weights) -> tuple[Weights, int]:
    """Reads weights from the newest checkpoint that is whole, also while a run goes on writing more.

    Args:
        directory: of the checkpoints.
        which: `last`, or `best` for those of the best validation.
        like: weights with the shapes, types and shardings to read them in.

    Returns:
        The weights, and the updates that they have had.

    Raises:
        UserError: there is no checkpoint, or none can be read.
    """
    return newest(directory, lambda checkpoint, step: _read(checkpoint, step, which, like))


def _read(checkpoint: Path, step: int, which: str, like: Weights) -> tuple[Weights, int]:
    progress = read_progress(checkpoint)
    stored_like = _as_stored(like, progress.get("layout", {}), "[0]['train']" if which == LAST else "[1]")
    item = "latest" if which == LAST else "best"
    parts: Mapping[str, Any] = stored_like._asdict()
    wanted = {"train": parts} if which == LAST else parts
    if which == LAST:
        wanted = jax.tree.map(lambda leaf: None if leaf.ndim == 0 else leaf, wanted)
    restore = ocp.args.PyTreeRestore(
        wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
    )
    stored = ocp.PyTreeCheckpointHandler().restore(checkpoint / item, args=restore)
    if which == LAST:
        stored = stored["train"]
        scalars = {name.removeprefix("['train']"): value for name, value in progress["scalars"].items()}
        weights = join(Weights(**stored), scalars, stored_like)
    else:
        weights = Weights(**stored)
    expected = progress.get("weights", {}).get(which)  # Older checkpoints have none.
    if expected is not None and checksum(weights) != expected:
        raise ValueError("its checksum is wrong")
    weights = jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), weights, like)
    if which == LAST:
        return weights, step
    best_step = np.frombuffer(bytes.fromhex(progress["scalars"]["['stopping'].best_step"]), np.int32)
    return weights, max(int(best_step[0]), 0)


def _as_stored(like: Weights, stored: Mapping[str, str], prefix: str) -> Weights:
    """What is to be read, in the types that it was written in: a network may be looked at in another precision."""

    def one(path: Any, leaf: jax.Array) -> jax.ShapeDtypeStruct:
        kind = stored.get(prefix + jax.tree_util.keystr(path), layout(leaf)[""])
        dtype, shape = kind.removesuffix("]").split("[")
        if shape != ",".join(map(str, leaf.shape)):
            raise UserError(f"{jax.tree_util.keystr(path)} is {kind} in the checkpoint, {layout(leaf)['']} here")
        return jax.ShapeDtypeStruct(leaf.shape, np.dtype(dtype), sharding=leaf.sharding)

    return jax.tree.map_with_path(one, like)
