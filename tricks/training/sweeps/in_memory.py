"""Lanes that are trained to their end and leave no files."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from tricks.config import Config
from tricks.data import Dataset
from tricks.errors import UserError
from tricks.training.sources import Sources
from tricks.training.sweeps import groups, programs, rung
from tricks.training.sweeps.groups import Group
from tricks.training.sweeps.lane_files import Story
from tricks.training.sweeps.rung import Crew
from tricks.training.sweeps.settings import Lane
from tricks.training.sweeps.slots import Keeper


def train(
    lanes: Sequence[Lane],
    find: Callable[[Config], Sources],
    *,
    seen: Callable[[Dataset], Dataset] = lambda data: data,
    seconds: float = math.inf,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[int, Story], dict[int, str]]:
    """Trains lanes side by side. The last lines of each are `test`, of the best weights, and `last test`.

    Args:
        lanes: what is trained.
        find: what of a config is a person's own.
        seen: `seen(data) -> data`, what the lanes train on and are evaluated on in place of what was loaded.
        seconds: after which no more is begun.
        note: told of the steps that are done, and of all.

    Returns:
        What happened to each lane by its number, and why others cannot be trained.
    """
    began, mesh = time.monotonic(), programs.make_mesh()
    found, refused = _divided(lanes, find, seen)
    until = {number: rules.total_steps for group in found for number, rules in group.rules.items()}
    total, done = sum(until.values()), 0

    def noted(lane: Lane, story: Story, steps: int) -> None:
        nonlocal done
        done += steps + (until[lane.number] - story.step if story.status else 0)
        note(done, total)

    keeper = Keeper(_nothing_kept, lambda *_: None, noted, lambda: time.monotonic() - began > seconds)
    crew = Crew(found, mesh, [rung.width(group, mesh.size) for group in found])
    try:
        stories, _ = crew.train(dict.fromkeys(until, Story()), until, lambda _: keeper)
    finally:
        crew.close()
    return stories, refused


def _divided(
    lanes: Sequence[Lane], find: Callable[[Config], Sources], seen: Callable[[Dataset], Dataset]
) -> tuple[list[Group], dict[int, str]]:
    divide = functools.partial(groups.divide, mesh=programs.make_mesh(), find=find, seen=seen)
    try:
        return divide(lanes), {}
    except UserError:
        refused = {}
        for lane in lanes:
            try:
                divide([lane])
            except UserError as error:
                refused[lane.number] = str(error)
        kept = [lane for lane in lanes if lane.number not in refused]
        return divide(kept) if kept else [], refused


def _nothing_kept(lane: Lane) -> Any:
    raise AssertionError("a lane is trained to its end")
