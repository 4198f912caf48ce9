"""A sweep from its settings to its results: trains all lanes, rung by rung, and goes on where it was interrupted."""

import functools
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from tricks import config as configuration
from tricks.cli import job
from tricks.cli.json_files import read_json, write_json
from tricks.cli.screen import say
from tricks.config import Config
from tricks.errors import UserError
from tricks.training import run_directory, same_data, sources
from tricks.training.interrupt import catch_interrupts
from tricks.training.sweeps import export, lane_files, picture, programs, results, rung, table
from tricks.training.sweeps import groups as grouping
from tricks.training.sweeps import halving as rules_of_halving
from tricks.training.sweeps.groups import Group
from tricks.training.sweeps.lane_files import Story
from tricks.training.sweeps.programs import LanePrograms
from tricks.training.sweeps.results import Results
from tricks.training.sweeps.rung import Crew
from tricks.training.sweeps.screen import Bar
from tricks.training.sweeps.settings import Lane, Setting, checked, lanes
from tricks.training.sweeps.slots import Keeper

WIDTHS = "widths.json"
_INTERRUPTED = "interrupted"
_OF_OTHER_KINDS = {"data.name", "data.target", "data.task", "data.standardize_targets", "loss.name"}


def sweep(
    config: Config,
    settings: Sequence[Setting],
    *,
    workdir: Path,
    seeds: int = 1,
    halving: int = 0,
    folders: Sequence[Path] = (Path(),),
) -> Results:
    """Trains every setting with every seed, many at once, or goes on with a sweep that was interrupted.

    Numbers and seeds are lanes of one program; what changes shapes or families is a program of its own. A lane is what
    `train.py` would make of the same config: its split, order, initial weights, dropout, early stopping.

    Args:
        config: the experiment.
        settings: for each the fields that differ from the config, by their dotted paths: all with the same fields.
        workdir: of the sweep; made where it is missing.
        seeds: of each setting: that of the config, and those that follow it.
        halving: the share of settings that goes on after each rung is one of so many; 0 trains all to their end. A
            sweep may be gone on with by another one: states are kept.
        folders: where relative files that the config names are looked for, in this order.

    Returns:
        `Results`; its `interrupted` says whether it is to go on.

    Raises:
        UserError: a setting, the data or the directory cannot be used.

    >>> import tempfile
    >>> small = Config()
    >>> small.train.epochs, small.model.hidden_sizes = 1, (8,)
    >>> rates = [{"optimizer.learning_rate": rate} for rate in (1e-3, 1e-2)]
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     found = sweep(small, rates, workdir=Path(folder) / "sweep")
    2 lanes, ...
    >>> [row["status"] for row in found.rows]
    ['completed', 'completed']
    """
    workdir = Path(workdir)
    settings = checked(config, settings, seeds=seeds, halving=halving)
    every = lanes(config, settings, seeds)
    mesh = programs.make_mesh()
    found = grouping.divide(every, mesh, functools.partial(sources.find, folders=folders))
    for group in found:
        same_data.require(group.examples, group.network, group.static)
    opened = run_directory.opened(workdir, _content(config, settings, seeds), run_directory.SWEEP)
    with opened if job.is_first() else nullcontext() as resuming:
        if job.is_first():
            (workdir / lane_files.FOLDER).mkdir(exist_ok=True)
            export.keep(workdir, config, settings, seeds, folders)
            _settle(workdir, found, bool(resuming))
        # Of several processes the first one prepares the directory, and the others wait for it.
        widths = job.share("widths", _widths(workdir, found, mesh.size) if job.is_first() else None)[0]
        stories = {lane.number: lane_files.read(workdir, lane.number) for lane in every}
        return _Sweep(workdir, every, found, mesh, widths, stories, halving).run()


def _settle(workdir: Path, found: Sequence[Group], resuming: bool) -> None:
    for number, group in enumerate(found):
        folder = workdir / "groups" / f"{number:03d}"
        if group.own.functions or group.own.data:
            folder.mkdir(parents=True, exist_ok=True)
            sources.settle(folder, group.own, group.examples, group.network, resuming and any(folder.iterdir()))


class _Sweep:
    """What a sweep is made of, and how far it is."""

    def __init__(
        self,
        workdir: Path,
        every: list[Lane],
        found: list[Group],
        mesh: Mesh,
        widths: list[int],
        stories: dict[int, Story],
        halving: int,
    ) -> None:
        self.workdir, self.lanes, self.groups, self.stories = workdir, every, found, stories
        self.widths, self.halving = widths, halving
        self.group_of = {lane.number: group for group in found for lane in group.lanes}
        self.shares = rules_of_halving.rungs(
            len({lane.setting for lane in every}), max(lane.config.train.epochs for lane in every), halving
        )
        self.title = f"{every[0].config.data.name}: {_counted(len(every), 'training')}"
        self.crew = Crew(found, mesh, widths)
        self.values: dict[int, float] = {}
        for number in stories:
            self._judge(number)

    def run(self) -> Results:
        """As the function of the sweep."""
        began, alive = time.monotonic(), [lane.number for lane in self.lanes]
        say(self._heading())
        for field in sorted({*self.lanes[0].chosen} & _OF_OTHER_KINDS):
            say(f"lanes differ in {field}: what they are compared by, {self._metric()}, may not be of one kind")
        mine = {number: story for number, story in self.stories.items() if job.is_mine(number)}
        self.bar = Bar(self._steps(), sum(self._done(n, s) for n, s in mine.items()), self._best())
        interrupted = False
        try:
            with catch_interrupts() as asked:
                for place, share in enumerate(self.shares):
                    interrupted = self._rung(alive, share, asked)
                    if interrupted:
                        break
                    if place + 1 < len(self.shares):
                        alive = self._survivors(alive, share)
                        self.bar.say(self._after_rung(share, alive))
        finally:
            self.bar.close()
            self.crew.close()
        out = {lane.number for lane in self.lanes} - {*alive}
        made = results.make(
            self.lanes,
            self.stories,
            out,
            self._epochs(),
            metric=self._metric(),
            falls=self._falls(),
            interrupted=interrupted,
        )
        if job.is_first():
            results.write(self.workdir, made, self.stories)
        ended = sum(bool(story.status) for story in self.stories.values())
        behind = [number for number in out if not self.stories[number].status]
        say(table.text(made))
        left = f", {len(behind)} were left behind" if behind else ""
        say(f"{ended} of {len(self.lanes)} lanes have ended{left}; {time.monotonic() - began:.1f} s in this sitting")
        if interrupted:
            say("the same command goes on")
        elif job.is_first():
            picture.draw(self.workdir, made, self.title)
        say(f"directory of the sweep: {self.workdir}")
        return made

    def _rung(self, alive: Sequence[int], share: float, asked: Any) -> bool:
        """Trains those that are left to a share of their epochs; whether that was interrupted."""
        until = {number: self._until(number, share) for number in alive if job.is_mine(number)}

        def ends() -> bool:
            here = bool(asked())
            if here:
                job.tell(_INTERRUPTED)
            return here or job.is_told(_INTERRUPTED)

        self.stories, interrupted = self.crew.train(
            self.stories,
            until,
            lambda compiled: Keeper(functools.partial(self._restore, compiled), self._save, self._note, ends),
        )
        # Lanes of other processes have come to the same place when all have said so.
        interrupted = any(job.share(f"rung {share}", interrupted or ends(), ends))
        for lane in self.lanes:
            if not job.is_mine(lane.number):
                self.stories[lane.number] = lane_files.read(self.workdir, lane.number)
                self._judge(lane.number)
        return interrupted

    def _restore(self, compiled: LanePrograms, lane: Lane) -> Any:
        return lane_files.read_state(self.workdir, lane.number, programs.of_one(compiled.loops))

    def _save(self, lane: Lane, state: Any, story: Story) -> None:
        lane_files.write_state(self.workdir, lane.number, state, story)

    def _note(self, lane: Lane, story: Story, steps: int) -> None:
        self.stories[lane.number] = story
        if story.status or (story.records and story.records[-1].kind == "validation"):
            self._judge(lane.number)
        if story.status:
            lane_files.write_ended(self.workdir, lane.number, story)
            steps += self._until(lane.number, 1.0) - story.step
        self.bar.show(steps, self._best)

    def _survivors(self, alive: Sequence[int], share: float) -> list[int]:
        values: dict[int, list[float]] = {}
        for lane in self.lanes:
            if lane.number in alive:
                value = results.best_by(
                    self.stories[lane.number], self._until(lane.number, share), self._metric(), self._falls()
                )
                values.setdefault(lane.setting, []).append(value if self._falls() else -value)
        chosen = rules_of_halving.survivors(values, self.halving)
        return [lane.number for lane in self.lanes if lane.number in alive and lane.setting in chosen]

    def _until(self, number: int, share: float) -> int:
        rules = self.group_of[number].rules[number]
        epochs = rules.total_steps // rules.steps_per_epoch
        return min(math.ceil(share * epochs - 1e-9), epochs) * rules.steps_per_epoch

    def _done(self, number: int, story: Story) -> int:
        return self._until(number, 1.0) if story.status else story.step

    def _steps(self) -> int:
        return sum(self._until(lane.number, 1.0) for lane in self.lanes if job.is_mine(lane.number))

    def _epochs(self) -> dict[int, int]:
        return {number: group.plan.steps_per_epoch for number, group in self.group_of.items()}

    def _metric(self) -> str:
        return self.groups[0].static.monitored

    def _falls(self) -> bool:
        return self.groups[0].static.falls

    def _judge(self, number: int) -> None:
        """Takes the validations of a lane into account for the best one so far."""
        story = self.stories[number]
        self.values[number] = results.best_by(story, story.step, self._metric(), self._falls())

    def _best(self) -> str:
        found = {number: value for number, value in self.values.items() if math.isfinite(value)}
        if not found:
            return ""
        best = (min if self._falls() else max)(found, key=found.__getitem__)
        return f"best {self._metric()} {found[best]:.4g} (lane {best})"

    def _heading(self) -> str:
        count = {"lane": len(self.lanes), "program": len(self.groups)}
        words = ", ".join(_counted(n, what) for what, n in count.items())
        gone = sum(bool(story.status) for story in self.stories.values())
        at_once = f"{_counted(max(self.widths), 'lane')} at once"
        return f"{words}, {at_once}" + (f"; {gone} had ended before" if gone else "")

    def _after_rung(self, share: float, alive: Sequence[int]) -> str:
        left = {lane.setting for lane in self.lanes if lane.number in alive and not self.stories[lane.number].status}
        many = _counted(len(left), "setting")
        return f"after {share:.3g} of the epochs {many} {'goes' if len(left) == 1 else 'go'} on"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _content(config: Config, settings: Sequence[Setting], seeds: int) -> dict[str, Any]:
    chosen = {f"sweep.{field}": [setting[field] for setting in settings] for field in settings[0]}
    return {**configuration.flatten(config), "seeds": seeds, "settings": len(settings), **chosen}


def _widths(workdir: Path, found: Sequence[Group], devices: int) -> list[int]:
    """Lanes at once, of each group: as they were, since rounding depends on it."""
    path = workdir / WIDTHS
    if path.exists():
        stored = _stored_widths(path)
        if len(stored) == len(found) and all(width % devices == 0 for width in stored):
            return stored
    widths = [rung.width(group, devices, job.count()) for group in found]
    write_json(path, widths)
    return widths


def _stored_widths(path: Path) -> list[int]:
    try:
        stored = read_json(path)
        if not isinstance(stored, list) or not all(type(width) is int and width > 0 for width in stored):
            raise ValueError("it is no list of widths")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it, and the sweep goes on") from error
    return stored
