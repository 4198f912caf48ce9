"""Checkpoints: the latest state, the best weights, and what it took to get there."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from tricks.cli import job
from tricks.cli.screen import say
from tricks.errors import UserError
from tricks.training import stored_state, stored_tree
from tricks.training.state import LoopState, weights
from tricks.training.stored_state import latest, reason

_KEPT = 2


class Checkpoints(NamedTuple):
    """A folder of checkpoints, one subfolder a step, each with `latest`, `best` and `progress`."""

    directory: Path
    manager: ocp.CheckpointManager


def open_directory(directory: Path) -> Checkpoints:
    """Opens a folder of checkpoints. The newest two are kept.

    Args:
        directory: of the checkpoints.

    Returns:
        What `save` and `restore` take.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=_KEPT,
        step_format_fixed_length=8,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
    )
    return Checkpoints(directory, ocp.CheckpointManager(directory.absolute(), options=options))


def save(checkpoints: Checkpoints, loop: LoopState, spent: Mapping[str, float]) -> None:
    """Writes a checkpoint under its step, whole or not at all.

    Args:
        checkpoints: as `open_directory` gives it.
        loop: what to write.
        spent: seconds, by name; `restore` gives them back.

    Raises:
        UserError: it cannot be written; those before stay as they were.
    """
    step = int(loop.train.step)
    kept = latest(loop)
    arrays, scalars = stored_tree.split(kept)
    progress = {
        "step": step,
        "spent": dict(spent),
        "scalars": scalars,
        "layout": stored_tree.layout((kept, loop.best)),
        "checksum": stored_tree.checksum((kept, loop.best)),
        "weights": {"last": stored_tree.checksum(weights(loop.train)), "best": stored_tree.checksum(loop.best)},
    }
    arguments = ocp.args.Composite(
        latest=ocp.args.StandardSave(arrays),
        best=ocp.args.StandardSave(loop.best),
        progress=ocp.args.JsonSave(stored_tree.sealed(progress)),
    )
    try:
        _check_room(checkpoints.directory, (kept, loop.best))
        written = checkpoints.manager.save(step, args=arguments)
    except (OSError, ValueError) as error:
        full = "No space left" in str(error)
        raise UserError(_not_written(checkpoints, step, "no space left" if full else reason(error))) from error
    # It declines a step that is there, as that of a finished run is, and one before the last that is there.
    newest = checkpoints.manager.latest_step()
    if not written and newest != step:
        raise UserError(_not_written(checkpoints, step, f"{newest} is there, which is later: move it away"))


def _not_written(checkpoints: Checkpoints, step: int, why: str) -> str:
    return (
        f"the checkpoint of step {step} cannot be written to {checkpoints.directory} ({why}); "
        f"{describe_last(checkpoints)}"
    )


def describe_last(checkpoints: Checkpoints) -> str:
    """Which checkpoint a person can fall back on, in words.

    Args:
        checkpoints: as `open_directory` gives it.

    Returns:
        A part of a sentence.
    """
    step = checkpoints.manager.latest_step()
    return "no checkpoint was written yet" if step is None else f"the last good checkpoint is of step {step}"


def restore(checkpoints: Checkpoints, like: LoopState) -> tuple[LoopState, dict[str, float]] | None:
    """Reads the newest checkpoint that is whole; those that are damaged are named and moved aside.

    Args:
        checkpoints: as `open_directory` gives it.
        like: a state with the shapes, types and shardings to restore.

    Returns:
        The state and the seconds spent; None where there is no checkpoint.

    Raises:
        UserError: there are checkpoints, and all are damaged; or the newest whole one is of another kind of state.
    """
    steps = sorted(job.share("checkpoints", list(checkpoints.manager.all_steps()))[0], reverse=True)
    for i, step in enumerate(steps):
        found, failed = _read_if_whole(checkpoints, step, like)
        # Of several processes one alone may not be able to read it.
        why = next(filter(None, job.share("restored", failed)), "")
        if found is not None and not why:
            return found
        before = f"going back to that of step {steps[i + 1]}" if i + 1 < len(steps) else "there is none before it"
        say(f"the checkpoint of step {step} cannot be read ({why}); {before}")
        if i + 1 == len(steps):
            raise UserError(
                f"all checkpoints in {checkpoints.directory} are damaged; choose another --workdir to start anew"
            )
        if job.is_first():
            _move_aside(checkpoints, step)
        job.share("moved", None)
        checkpoints.manager.reload()
    return None


def _read_if_whole(
    checkpoints: Checkpoints, step: int, like: LoopState
) -> tuple[tuple[LoopState, dict[str, float]] | None, str]:
    """What a checkpoint holds, or why it cannot be read."""
    try:
        return stored_state.read_one(checkpoints.directory.absolute() / f"{step:08d}", step, like), ""
    except (UserError, MemoryError, PermissionError):
        raise
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file.
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            raise
        return None, reason(error)


def _check_room(directory: Path, tree: Any) -> None:
    # Orbax's threads print pages of tracebacks when the disk is full; asking first gives the same answer in a line.
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + 2**20
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(f"no space left: it needs {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free")


def _move_aside(checkpoints: Checkpoints, step: int) -> None:
    name = f"{step:08d}"
    aside = checkpoints.directory / "unreadable"
    aside.mkdir(exist_ok=True)
    # It may have been damaged, moved aside and written again before.
    names = itertools.chain([name], (f"{name}-{again}" for again in itertools.count(2)))
    (checkpoints.directory / name).rename(next(aside / free for free in names if not (aside / free).exists()))
    checkpoints.manager.reload()
