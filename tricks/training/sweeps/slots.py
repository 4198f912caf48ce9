"""Trains many lanes in a program that takes a few at once: where one ends, the next takes its place."""

import functools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from tricks.losses import loss_first
from tricks.training import feed, loop
from tricks.training.records import Record
from tricks.training.state import LoopState, weights
from tricks.training.sweeps import programs
from tricks.training.sweeps.groups import Group
from tricks.training.sweeps.lane_data import Examples
from tricks.training.sweeps.lane_files import Story
from tricks.training.sweeps.programs import LanePrograms
from tricks.training.sweeps.settings import Lane

_SECONDS_BETWEEN_SAVES = 20.0


class OnDevices(NamedTuple):
    """What lanes are computed with."""

    programs: LanePrograms
    examples: tuple[Any, Any]
    blocks: Mapping[str, Sequence[Any]]
    """For `validation` and `test`."""
    examples_of: Mapping[str, int]
    """Examples of a split."""


class Keeper(NamedTuple):
    """Where lanes come from and go to.

    Attributes:
        restore: `restore(lane) -> state` on the host, random keys as their words.
        save: `save(lane, state, story)`, of a lane that is to go on.
        note: `note(lane, story, steps)` after every chunk and validation: how far it is, and the steps just done.
        interrupted: asked between chunks.
    """

    restore: Callable[[Lane], LoopState]
    save: Callable[[Lane, LoopState, Story], None]
    note: Callable[[Lane, Story, int], None]
    interrupted: Callable[[], bool]


class _Slot:
    """A lane that is being trained."""

    def __init__(self, lane: Lane, story: Story) -> None:
        self.lane, self.story = lane, story

    def change(self, **fields: Any) -> None:
        self.story = self.story._replace(**fields)

    def record(self, record: Record) -> None:
        self.story = self.story._replace(records=(*self.story.records, record))


def train(
    group: Group, on: OnDevices, stories: Mapping[int, Story], until: Mapping[int, int], keeper: Keeper
) -> tuple[dict[int, Story], bool]:
    """Trains lanes of a group to a step, or to their end where that comes before.

    Args:
        group: whose lanes they are.
        on: what is computed with.
        stories: for the number of each lane that is to be trained, what has happened to it.
        until: the step of each, at the end of an epoch.
        keeper: where they come from and go to.

    Returns:
        What has happened to each lane since, and whether it was interrupted; then those that have begun are saved.
    """
    stories, per_epoch, width = dict(stories), group.plan.steps_per_epoch, on.programs.width
    # Those that were interrupted in the middle of an epoch come to its end first, each with those at the same place.
    within = {story.step % per_epoch for story in stories.values()} - {0}
    places = [[n for n, s in stories.items() if s.step % per_epoch == place] for place in sorted(within)]
    for middle in (numbers[first : first + width] for numbers in places for first in range(0, len(numbers), width)):
        few = {number: stories[number] for number in middle}
        ends = {number: story.step + -story.step % per_epoch for number, story in few.items()}
        found, interrupted = _Pack(group, on, few, ends, keeper).train()
        stories |= found
        if interrupted:
            return stories, True
    going = {number: story for number, story in stories.items() if not story.status and story.step < until[number]}
    found, interrupted = _Pack(group, on, going, until, keeper).train()
    return stories | found, interrupted


class _Pack:
    """The slots of a group, and the lanes that wait for one, all at the same place of an epoch."""

    def __init__(
        self, group: Group, on: OnDevices, stories: Mapping[int, Story], until: Mapping[int, int], keeper: Keeper
    ) -> None:
        self.group, self.on, self.until, self.keeper = group, on, until, keeper
        self.stories = dict(stories)
        self.slots: list[_Slot | None] = [None] * on.programs.width
        self.numbers = [group.hypers[group.lanes[0].number]] * on.programs.width
        self.loops: LoopState | None = None
        ends = np.cumsum([0, *group.plan.chunk_lengths]).tolist()
        (within,) = {story.step % ends[-1] for story in stories.values()} or {0}
        self.first_chunk = ends.index(within)
        self.waiting = deque(lane for lane in group.lanes if lane.number in stories)
        self.order = functools.lru_cache(maxsize=2 * on.programs.width)(self._order)

    def train(self) -> tuple[dict[int, Story], bool]:
        """As the function of that name."""
        saved = time.monotonic()
        self._enter()
        first = self.first_chunk
        while any(self.slots):
            for place in range(first, len(self.group.plan.chunk_lengths)):
                self._run(place)
                if not any(self.slots):
                    break
                if self.keeper.interrupted():
                    at_end = place == len(self.group.plan.chunk_lengths) - 1
                    if at_end:
                        self._after_epoch()
                    self._save()
                    return self.stories, True
            first = 0
            self._after_epoch()
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                self._save()
                saved = time.monotonic()
            self._enter()
        return self.stories, False

    def _enter(self) -> None:
        """Lets lanes that wait take the free slots."""
        free = [place for place, slot in enumerate(self.slots) if slot is None]
        coming = [(place, self.waiting.popleft()) for place in free if self.waiting]
        if not coming:
            return
        for place, lane in coming:
            self.slots[place] = _Slot(lane, self.stories[lane.number])
            self.numbers[place] = self.group.hypers[lane.number]
        self.hyper = jax.device_put(programs.stacked(self.numbers), self._by_lane())
        new = [(place, lane) for place, lane in coming if self.stories[lane.number].step == 0]
        restored = [(place, lane) for place, lane in coming if self.stories[lane.number].step > 0]
        if new:
            seeds = np.array([slot.lane.config.seed if slot else 0 for slot in self.slots], np.uint32)
            self._place(self.on.programs.start(self.hyper, self._put(seeds)), [place for place, _ in new])
            self._validate([place for place, _ in new])
        if restored:
            self._place(self._restored(restored), [place for place, _ in restored])

    def _place(self, loops: LoopState, places: list[int]) -> None:
        self.loops = loops if self.loops is None else self.on.programs.enter(self._mask(places), loops, self.loops)

    def _restored(self, coming: list[tuple[int, Lane]]) -> LoopState:
        states = {place: self.keeper.restore(lane) for place, lane in coming}
        like = next(iter(states.values()))
        rows = [states.get(place, like) for place in range(len(self.slots))]
        words = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        return jax.tree.map(self._as_leaf, words, self.on.programs.loops)

    def _as_leaf(self, words: np.ndarray, like: jax.ShapeDtypeStruct) -> Any:
        if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
            return jax.device_put(jax.random.wrap_key_data(jax.numpy.asarray(words)), self._by_lane())
        return self._put(words)

    def _run(self, place: int) -> None:
        length = self.group.plan.chunk_lengths[place]
        start = sum(self.group.plan.chunk_lengths[:place])
        rows = np.stack([self._rows(slot)[start : start + length] for slot in self.slots])
        data = self.group.data
        own = [np.asarray(self._of(table.places), np.int32) * table.rows for table in (data.features, data.targets)]
        features, targets = self.on.examples
        examples = Examples(features, targets, *map(self._put, own))
        began = time.perf_counter()
        train, metrics = self.on.programs.chunks[length](self.hyper, self._state().train, examples, self._put(rows))
        self.loops = self._state()._replace(train=train)
        metrics = jax.device_get(metrics)
        seconds = time.perf_counter() - began
        active = [(place, slot) for place, slot in enumerate(self.slots) if slot]
        for place, slot in active:
            of_lane = jax.tree.map(lambda values, place=place: values[place], metrics)
            rules, story = self.group.rules[slot.lane.number], slot.story
            slot.change(seconds=story.seconds + seconds / len(active))
            wrong = loop.not_finite(of_lane, story.step, rules)
            if wrong:
                slot.change(status="diverged", message=wrong)
                self._leave(place)
                continue
            slot.change(step=story.step + length)
            rate = length * self.group.plan.batch_size * len(active) / seconds
            slot.record(loop.training_record(of_lane, slot.story.step, rules, rate))
            self.keeper.note(slot.lane, slot.story, length)

    def _after_epoch(self) -> None:
        places = [place for place, slot in enumerate(self.slots) if slot]
        if not places:
            return
        stops = self._validate(places)
        ended, paused = [], []
        for place in places:
            slot = self._slot(place)
            number = slot.lane.number
            if stops[place] or slot.story.step >= self.group.rules[number].total_steps:
                ended.append(place)
            elif slot.story.step >= self.until[number]:
                paused.append(place)
        if ended:
            self._end(ended)
        if paused:
            self._save(paused)
            for place in paused:
                self._leave(place)

    def _validate(self, places: list[int]) -> np.ndarray:
        """Takes a validation of lanes into account; whether early stopping ends each."""
        means = self._means("validation", weights(self._state().train))
        measures = {name: self._put(values.astype(np.float32)) for name, values in means.items()}
        self.loops, progress = self.on.programs.after_epoch(self.hyper, self._state(), measures, self._mask(places))
        progress = jax.device_get(progress)
        for place in places:
            slot = self._slot(place)
            step = slot.story.step
            values = {name: float(column[place]) for name, column in means.items()}
            slot.record(Record(step, self.group.rules[slot.lane.number].epoch_of(step), "validation", values))
            slot.change(best_step=int(progress.best_step[place]))
            self.keeper.note(slot.lane, slot.story, 0)
        stops: np.ndarray = progress.stops
        return stops

    def _end(self, places: list[int]) -> None:
        best = self._means("test", self._state().best)
        last = self._means("test", weights(self._state().train))
        for place in places:
            slot = self._slot(place)
            story, rules = slot.story, self.group.rules[slot.lane.number]
            if story.best_step < 0:
                slot.change(status="diverged", message=f"{self.group.static.monitored} was finite in no validation")
            else:
                slot.change(status="completed" if story.step >= rules.total_steps else "stopped early")
                for kind, step, means in (("test", story.best_step, best), ("last test", story.step, last)):
                    values = {name: float(column[place]) for name, column in means.items()}
                    slot.record(Record(step, rules.epoch_of(step), kind, values))
            self._leave(place)

    def _means(self, part: str, of: Any) -> dict[str, np.ndarray]:
        sums: list[dict[str, np.ndarray]] = []
        places = self._of(self.group.data.places)
        for block in self.on.blocks[part]:
            batches = len(block.counts) // len(self.group.data.evaluated[part])
            rows = np.asarray(places)[:, None] * batches + np.arange(batches)
            found = self.on.programs.evaluate[block.counts.shape](of, block, self._put(rows.astype(np.int32)))
            sums.append(jax.device_get(found))
        total = {name: sum(s[name].astype(np.float64).sum(axis=1) for s in sums) for name in sums[0]}
        return loss_first({name: values / self.on.examples_of[part] for name, values in total.items()})

    def _leave(self, place: int) -> None:
        slot = self._slot(place)
        self.stories[slot.lane.number] = slot.story
        self.keeper.note(slot.lane, slot.story, 0)
        self.slots[place] = None

    def _save(self, places: Sequence[int] | None = None) -> None:
        """Writes the states of lanes that are to go on."""
        host = jax.tree.map(_words, self._state())
        for place, slot in enumerate(self.slots):
            if slot is not None and (places is None or place in places):
                self.stories[slot.lane.number] = slot.story
                self.keeper.save(slot.lane, jax.tree.map(lambda a, place=place: a[place], host), slot.story)

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        return feed.rows_of_epoch(self.group.data.targets.rows, self.group.plan, seed, epoch)

    def _rows(self, slot: _Slot | None) -> np.ndarray:
        if slot is None:
            return np.zeros((self.group.plan.steps_per_epoch, self.group.plan.batch_size), np.int32)
        return self.order(slot.lane.config.seed, slot.story.step // self.group.plan.steps_per_epoch)

    def _of(self, places: Mapping[int, int]) -> list[int]:
        return [places[slot.lane.number] if slot else 0 for slot in self.slots]

    def _slot(self, place: int) -> _Slot:
        slot = self.slots[place]
        assert slot is not None
        return slot

    def _state(self) -> LoopState:
        assert self.loops is not None
        return self.loops

    def _mask(self, places: list[int]) -> Any:
        mask = np.zeros(len(self.slots), np.bool_)
        mask[places] = True
        return self._put(mask)

    def _put(self, rows: np.ndarray) -> Any:
        return jax.device_put(rows, self._by_lane())

    def _by_lane(self) -> Any:
        return programs.by_lane(self.on.programs.mesh)


def _words(leaf: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    # A view of the buffer would change under the next step, which writes into it.
    return np.array(leaf)
