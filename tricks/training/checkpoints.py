"""Checkpoints: the latest state, the best weights, and what it took to get there."""

import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from tricks.errors import UserError
from tricks.training.state import LoopState, weights

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
    latest = _latest(loop)
    arrays, scalars = _split(latest)
    progress = {
        "spent": dict(spent),
        "scalars": scalars,
        "checksum": checksum((latest, loop.best)),
        "weights": {"last": checksum(weights(loop.train)), "best": checksum(loop.best)},
    }
    arguments = ocp.args.Composite(
        latest=ocp.args.StandardSave(arrays),
        best=ocp.args.StandardSave(loop.best),
        progress=ocp.args.JsonSave(progress),
    )
    try:
        _check_room(checkpoints.directory, (latest, loop.best))
        checkpoints.manager.save(step, args=arguments)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the checkpoint of step {step} cannot be written to {checkpoints.directory} ({reason(error)}); "
            f"{describe_last(checkpoints)}"
        ) from error


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
    """Reads the newest checkpoint that can be read; those that cannot are named and moved aside.

    Args:
        checkpoints: as `open_directory` gives it.
        like: a state with the shapes, types and shardings to restore.

    Returns:
        The state and the seconds spent; None where there is no checkpoint.

    Raises:
        UserError: there are checkpoints, and none can be read.
    """
    steps = sorted(checkpoints.manager.all_steps(), reverse=True)
    for i, step in enumerate(steps):
        try:
            return _read(checkpoints, step, like)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file.
            before = f"going back to that of step {steps[i + 1]}" if i + 1 < len(steps) else "there is none before it"
            print(f"the checkpoint of step {step} cannot be read ({reason(error)}); {before}")
            if i + 1 == len(steps):
                raise UserError(
                    f"no checkpoint in {checkpoints.directory} can be read; remove that folder to start anew"
                ) from error
            _move_aside(checkpoints, step)
    return None


def _read(checkpoints: Checkpoints, step: int, like: LoopState) -> tuple[LoopState, dict[str, float]]:
    like_latest = _latest(like)
    wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, (_split(like_latest)[0], like.best))
    arguments = ocp.args.Composite(
        latest=ocp.args.StandardRestore(wanted[0]),
        best=ocp.args.StandardRestore(wanted[1]),
        progress=ocp.args.JsonRestore(),
    )
    stored = checkpoints.manager.restore(step, args=arguments)
    latest = join(stored.latest, stored.progress["scalars"], like_latest)
    if checksum((latest, stored.best)) != stored.progress["checksum"]:
        raise ValueError("its checksum is wrong")
    return LoopState(best=stored.best, **latest), stored.progress["spent"]


def _latest(loop: LoopState) -> dict[str, Any]:
    parts = loop._asdict()
    del parts["best"]
    return {name: part for name, part in parts.items() if part is not None}


def _split(tree: Any) -> tuple[Any, dict[str, str]]:
    """The arrays, with None for the scalars, and those by name: a file for each would take longer than the weights.

    Scalars are the hexadecimal digits of their bytes, which keep what a number in JSON would not: which NaN it is.
    """
    paths, _ = jax.tree.flatten_with_path(tree)
    scalars = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes().hex() for path, leaf in paths if _is_scalar(leaf)}
    return jax.tree.map(lambda leaf: None if _is_scalar(leaf) else leaf, tree), scalars


def join(arrays: Any, scalars: Mapping[str, str], like: Any) -> Any:
    """The arrays of a checkpoint with its scalars put back.

    Args:
        arrays: with None for scalars.
        scalars: the bytes of each in hexadecimal digits, by its path.
        like: a pytree with the types and shardings.

    Returns:
        A pytree of the structure of `like`.
    """

    def one(path: Any, like: jax.Array, stored: Any) -> Any:
        if not _is_scalar(like):
            return stored
        kept = bytes.fromhex(scalars[jax.tree_util.keystr(path)])
        return jax.device_put(np.frombuffer(kept, like.dtype).reshape(()), like.sharding)

    return jax.tree.map_with_path(one, like, arrays)


def _is_scalar(leaf: jax.Array) -> bool:
    return leaf.ndim == 0 and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _check_room(directory: Path, tree: Any) -> None:
    # Orbax's threads print pages of tracebacks when the disk is full; asking first gives the same answer in a line.
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + 2**20
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(f"no space left: it needs {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free")


def _move_aside(checkpoints: Checkpoints, step: int) -> None:
    name = f"{step:08d}"
    aside = checkpoints.directory / "unreadable" / name
    aside.parent.mkdir(exist_ok=True)
    (checkpoints.directory / name).rename(aside)
    checkpoints.manager.reload()


def checksum(tree: Any) -> int:
    """Of all bytes of a pytree of arrays.

    >>> checksum({"a": np.zeros(2)}) == checksum({"a": np.ones(2)})
    False
    """
    total = 0
    for leaf in jax.tree.leaves(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        total = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, total)
    return total


def reason(error: BaseException) -> str:
    """The first line of what an error says.

    >>> reason(ValueError("no\\nmore"))
    'no'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
