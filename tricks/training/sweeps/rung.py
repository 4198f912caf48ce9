"""Trains lanes of several groups one group after another, while the programs of the next one are compiled."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from jax.sharding import Mesh

from tricks.training import assembly
from tricks.training.sweeps import lane_data, memory, programs, slots
from tricks.training.sweeps.groups import Group
from tricks.training.sweeps.lane_files import Story
from tricks.training.sweeps.programs import LanePrograms
from tricks.training.sweeps.slots import Keeper, OnDevices

_BATCH = 256  # Examples of a lane that are evaluated at once.


def width(group: Group, devices: int, processes: int = 1) -> int:
    """Lanes of a group at once.

    Args:
        group: of lanes.
        devices: of a process, that they are divided among.
        processes: that they are divided among before.

    Returns:
        A multiple of the devices.
    """
    batch = assembly.batch_of(group.examples.train, group.plan.batch_size)
    each = memory.of_lane(group.static, group.hypers[group.lanes[0].number], batch)
    return memory.width(-(-len(group.lanes) // processes), each, lane_data.bytes_on_device(group.data), devices)


class Crew:
    """Groups with their programs, made in another thread and kept from rung to rung."""

    def __init__(self, groups: Sequence[Group], mesh: Mesh, widths: Sequence[int]) -> None:
        self._groups, self._mesh, self._widths = groups, mesh, widths
        self._thread = ThreadPoolExecutor(1)
        self._prepared: dict[int, Future[LanePrograms]] = {}

    def train(
        self, stories: Mapping[int, Story], until: Mapping[int, int], keeper_of: Callable[[LanePrograms], Keeper]
    ) -> tuple[dict[int, Story], bool]:
        """Trains lanes to a step, or to their end where that comes before.

        Args:
            stories: for the number of each lane, what has happened to it.
            until: the step of each that is to be trained, at the end of an epoch.
            keeper_of: where lanes that these programs train come from and go to.

        Returns:
            What has happened to each lane since, and whether it was interrupted.
        """
        stories, work = dict(stories), []
        for number, group in enumerate(self._groups):
            ends = {lane.number: until[lane.number] for lane in group.lanes if lane.number in until}
            todo = {n: s for n, s in stories.items() if n in ends and not s.status and s.step < ends[n]}
            if todo:
                work.append((number, todo, ends))
        # Those of the next group are traced and compiled while this one trains.
        for number, _, _ in work:
            if number not in self._prepared:
                self._prepared[number] = self._thread.submit(self._programs, number)
        for number, todo, ends in work:
            compiled = self._prepared[number].result()
            on = _on_devices(self._groups[number], compiled)
            found, interrupted = slots.train(self._groups[number], on, todo, ends, keeper_of(compiled))
            stories |= found
            if interrupted:
                return stories, True
        return stories, False

    def close(self) -> None:
        """Makes no more programs."""
        self._thread.shutdown(cancel_futures=True)

    def _programs(self, number: int) -> LanePrograms:
        group = self._groups[number]
        return programs.compiled(
            group.static,
            self._mesh,
            group.hypers[group.lanes[0].number],
            *lane_data.shapes(group.data, self._mesh, _BATCH),
            lengths={*group.plan.chunk_lengths},
            batch_size=group.plan.batch_size,
            width=self._widths[number],
        )


def _on_devices(group: Group, compiled: LanePrograms) -> OnDevices:
    return OnDevices(
        compiled,
        lane_data.on_devices(group.data, compiled.mesh),
        {part: lane_data.blocks(group.data, part, compiled.mesh, _BATCH) for part in group.data.evaluated},
        {part: len(splits[0].targets) for part, splits in group.data.evaluated.items()},
    )
