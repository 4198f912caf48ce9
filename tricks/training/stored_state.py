"""One checkpoint as the whole state of a run, and the newest for those who only read: nothing is locked, moved or
removed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from tricks.errors import UserError
from tricks.training import older_states, stored_tree
from tricks.training.state import LoopState

Kind = TypeVar("Kind")


def read(directory: Path, like: LoopState) -> LoopState:
    """Reads the whole state from the newest checkpoint that is whole, also while a run goes on writing more.

    Args:
        directory: of the checkpoints.
        like: a state with the shapes, types and shardings to read it in.

    Returns:
        The state.

    Raises:
        UserError: there is no checkpoint, none can be read, or the newest whole one is of another kind of state.
    """
    return newest(directory, lambda checkpoint, step: read_one(checkpoint, step, like)[0])


def newest(directory: Path, read: Callable[[Path, int], Kind]) -> Kind:
    """What can be read of the newest checkpoint of which it can be.

    Args:
        directory: of the checkpoints.
        read: `read(checkpoint, step)` of the folder of one.

    Returns:
        What it gives.

    Raises:
        UserError: as `read`; or there is no checkpoint, or none can be read.
    """
    directory, failed = directory.absolute(), ""
    # A run that goes on removes old ones while they are read: then there are newer ones.
    for _ in range(3):
        for step in sorted(ocp.utils.checkpoint_steps(directory), reverse=True):
            try:
                return read(directory / f"{step:08d}", step)
            except UserError:
                raise
            except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file.
                failed = f"; that of step {step} cannot be read ({reason(error)})"
    raise UserError(f"{directory} has no checkpoint that can be read{failed}: train the run for an epoch first")


def read_one(checkpoint: Path, step: int, like: LoopState) -> tuple[LoopState, dict[str, float]]:
    """The whole state of a checkpoint, and the seconds spent.

    Args:
        checkpoint: its folder.
        step: that it is of.
        like: a state with the shapes, types and shardings to read it in.

    Returns:
        The state and the seconds, by name.

    Raises:
        UserError: it is of another kind of state.
        Exception: of many kinds, where it is damaged.
    """
    progress = read_progress(checkpoint)
    like_latest = older_states.as_stored(latest(like), progress.get("layout", progress["scalars"]))
    # Older versions wrote neither.
    if progress.get("step", step) != step:
        raise ValueError(f"it is that of step {progress['step']}")
    if "layout" in progress:
        _check_same_kind(checkpoint, step, progress["layout"], stored_tree.layout((like_latest, like.best)))
    else:
        layouts = older_states.layouts(checkpoint, progress["scalars"], like_latest, like.best)
        _check_same_kind(checkpoint, step, *layouts)
    wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, (stored_tree.split(like_latest)[0], like.best))
    stored, best = (
        ocp.StandardCheckpointHandler().restore(checkpoint / item, args=ocp.args.StandardRestore(tree))
        for item, tree in zip(("latest", "best"), wanted, strict=True)
    )
    whole = stored_tree.join(stored, progress["scalars"], like_latest)
    if stored_tree.checksum((whole, best)) != progress["checksum"]:
        raise ValueError("its checksum is wrong")
    return LoopState(best=best, **older_states.as_now(whole)), progress["spent"]


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """What is written beside the arrays of a checkpoint: its step, its scalars, its layout and checksums.

    Args:
        checkpoint: its folder.

    Returns:
        JSON values.

    Raises:
        ValueError: it was changed since.
    """
    return stored_tree.opened(ocp.JsonCheckpointHandler().restore(checkpoint / "progress", args=ocp.args.JsonRestore()))


def latest(loop: LoopState) -> dict[str, Any]:
    """What of a state is kept as the latest, all but the best weights.

    >>> from tricks.early_stopping import init
    >>> list(latest(LoopState(1, 2, init())))
    ['train', 'stopping']
    """
    parts = loop._asdict()
    del parts["best"]
    return {name: part for name, part in parts.items() if part is not None}


def reason(error: BaseException) -> str:
    """The first line of what an error says.

    >>> reason(ValueError("no\\nmore"))
    'no'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _check_same_kind(checkpoint: Path, step: int, stored: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    difference = stored_tree.difference(stored, wanted)
    if difference:
        raise UserError(
            f"the checkpoint of step {step} in {checkpoint.parent} is of another kind of run ({difference}): set "
            "the config, and JAX_ENABLE_X64, as they were, or choose another --workdir"
        )
