"""What is kept of each lane: its state while it is to go on, and what it came to."""

import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tricks.cli.json_files import parse, read_json, unfinished, without_nan, write_json
from tricks.errors import UserError
from tricks.training import stored_tree
from tricks.training.records import Record
from tricks.training.state import LoopState

FOLDER = "lanes"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


class Story(NamedTuple):
    """What has happened to a lane."""

    step: int = 0
    """Updates done."""
    best_step: int = -1
    """Of the best validation; -1 before any."""
    records: tuple[Record, ...] = ()
    """As a run has them in `metrics.jsonl`, with the test of the last weights as `last test`."""
    seconds: float = 0.0
    """Its share of the time that it was trained in."""
    status: str = ""
    """`completed`, `stopped early` or `diverged`; empty while it may go on."""
    message: str = ""
    """What was not finite."""


def read(workdir: Path, number: int) -> Story:
    """What has happened to a lane so far.

    Args:
        workdir: of the sweep.
        number: of the lane.

    Returns:
        Its story; an empty one where it has not begun.

    Raises:
        UserError: its file is damaged.
    """
    ended, going = _paths(workdir, number)
    try:
        if ended.exists():
            return _story(read_json(ended))
        if going.exists():
            return _story(_progress(going)["story"])
    except _DAMAGED as error:
        path = ended if ended.exists() else going
        raise UserError(f"{path} is damaged ({error}); remove it, and the lane is trained anew") from error
    return Story()


def write_ended(workdir: Path, number: int, story: Story) -> None:
    """Keeps what a lane came to, in place of its state.

    Args:
        workdir: of the sweep.
        number: of the lane.
        story: its own.
    """
    ended, going = _paths(workdir, number)
    write_json(ended, _plain(story))
    going.unlink(missing_ok=True)


def write_state(workdir: Path, number: int, state: LoopState, story: Story) -> None:
    """Keeps the state of a lane, whole or not at all.

    Args:
        workdir: of the sweep.
        number: of the lane.
        state: on the host, random keys as their words.
        story: of the lane.
    """
    _, going = _paths(workdir, number)
    leaves = jax.tree.leaves(state)
    progress = {"story": _plain(story), "layout": stored_tree.layout(state), "checksum": stored_tree.checksum(state)}
    text = json.dumps(stored_tree.sealed(without_nan(progress))).encode()
    content = io.BytesIO()
    np.savez(content, progress=np.frombuffer(text, np.uint8), **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})
    temporary = unfinished(going)
    temporary.write_bytes(content.getbuffer())
    os.replace(temporary, going)


def read_state(workdir: Path, number: int, like: LoopState) -> LoopState:
    """The state that a lane goes on from.

    Args:
        workdir: of the sweep.
        number: of the lane.
        like: shapes and types of one lane, random keys as their words.

    Returns:
        Arrays on the host.

    Raises:
        UserError: it is damaged, or of another kind.
    """
    _, going = _paths(workdir, number)
    shapes, structure = jax.tree.flatten(like)
    try:
        progress = _progress(going)
        with np.load(going, allow_pickle=False) as stored:
            leaves = [stored[f"leaf{i}"] for i in range(len(shapes))]
        state: LoopState = jax.tree.unflatten(structure, leaves)
        if stored_tree.checksum(state) != progress["checksum"]:
            raise ValueError("its checksum is wrong")
    except _DAMAGED as error:
        raise UserError(f"{going} is damaged ({error}); remove it, and the lane is trained anew") from error
    difference = stored_tree.difference(stored_tree.layout(state), stored_tree.layout(like))
    if difference:
        raise UserError(f"{going} is of another kind of run ({difference}): choose another --workdir")
    return state


def has_state(workdir: Path, number: int) -> bool:
    """Whether a lane can go on from a state."""
    return _paths(workdir, number)[1].exists()


def _paths(workdir: Path, number: int) -> tuple[Path, Path]:
    name = workdir / FOLDER / f"{number:05d}"
    return name.with_suffix(".json"), name.with_suffix(".npz")


def _progress(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as stored:
        return stored_tree.opened(parse(stored["progress"].tobytes()))


def _plain(story: Story) -> dict[str, Any]:
    return {**story._asdict(), "records": [[*r[:3], dict(r.values)] for r in story.records]}


def _story(plain: dict[str, Any]) -> Story:
    records = [
        Record(step, epoch, kind, {name: np.nan if value is None else value for name, value in values.items()})
        for step, epoch, kind, values in plain["records"]
    ]
    story = Story(**{**plain, "records": tuple(records)})
    for name, kind in (("step", int), ("best_step", int), ("seconds", float | int), ("status", str), ("message", str)):
        if not isinstance(getattr(story, name), kind):
            raise ValueError(f"{name} is {getattr(story, name)!r}")
    return story
