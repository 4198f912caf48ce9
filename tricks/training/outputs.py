"""Where the lines of a run go: records, events and the screen, of the first process alone."""

from collections.abc import Callable
from pathlib import Path

from tricks.cli import job
from tricks.cli.screen import say
from tricks.training import records
from tricks.training.events import Events
from tricks.training.loop import Rules, to_all
from tricks.training.progress import Bar
from tricks.training.records import Record


def opened(
    workdir: Path, rules: Rules, first_step: int, *, resumed: bool, metric: str
) -> tuple[Callable[[Record], None], Callable[[], None]]:
    """Opens the sinks of a run.

    Args:
        workdir: the run directory.
        rules: of the loop.
        first_step: that the run goes on from.
        resumed: whether it was begun before.
        metric: that the screen shows beside the loss.

    Returns:
        `record(line)` and `close()`; of a process that is not the first they do nothing.
    """
    if not job.is_first():
        return lambda line: None, lambda: None
    if resumed:
        say(f"resuming {workdir} at step {first_step} of {rules.total_steps}")
        if all(line.step != first_step for line in records.read(workdir)):
            say(f"{workdir / records.FILE} lacks records up to step {first_step}; the curves will lack them too")
    writer = records.Writer(workdir, first_step if resumed else -1)
    events = Events(workdir, writer.kept)
    bar = Bar(rules.steps_per_epoch, rules.total_steps, first_step=first_step, metric=metric)
    return to_all(writer.write, events.write, bar.show), lambda: records.close_all(bar, writer, events)
