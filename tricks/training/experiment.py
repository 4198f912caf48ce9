"""From a config to a run directory: loads, builds, trains, tests, reports."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import jax
import optax

from tricks import config as configuration
from tricks.cli import job
from tricks.cli.screen import say
from tricks.errors import DivergedError
from tricks.training import computation, division_table, loop, outputs, report, run_directory, same_data, sources
from tricks.training.artist import Artist
from tricks.training.assembly import progress_of
from tricks.training.computation import Computation
from tricks.training.interrupt import catch_interrupts
from tricks.training.loop import Rules, Sinks, to_all
from tricks.training.records import Record
from tricks.training.saver import Saver
from tricks.training.setup import Setup, inspector, set_up
from tricks.training.state import LoopState

INTERRUPTED = "interrupted"


def run(config: configuration.Config, workdir: Path, folders: Sequence[Path] = (Path(),)) -> str:
    """Runs an experiment, or goes on with one that was interrupted.

    Args:
        config: what to do.
        workdir: the run directory; made where it is missing.
        folders: where relative files that the config names are looked for, in this order.

    Returns:
        `completed`, `stopped early` or `interrupted`.

    Raises:
        UserError: the config, the data or the directory cannot be used.
        DivergedError: a value was not finite.
    """
    with Artist() as artist:
        return _run(config, workdir, folders, artist)


def _run(config: configuration.Config, workdir: Path, folders: Sequence[Path], artist: Artist) -> str:
    setup = set_up(config, folders)
    same_data.require(setup.data, setup.network, setup.static)
    computed = computation.prepare(
        setup.static, setup.hyper, setup.data, setup.plan, on_device=setup.on_device, seed=config.seed
    )
    # Ready before anything is written, so that a model too large for the memory leaves nothing behind.
    first = jax.block_until_ready(computed.start())
    opened = run_directory.opened(workdir, configuration.flatten(config))
    with opened if job.is_first() else nullcontext() as found, catch_interrupts() as interrupted:
        resuming = job.share("resuming", found)[0]
        if job.is_first():
            sources.settle(workdir, setup.own, setup.data, setup.network, resuming)
        params = first.train.params
        told = {"divided": division_table.heading(setup.static, params), "compute": config.precision.compute}
        report.heading(setup.data, setup.plan, optax.tree.size(params), **told)
        return _run_in(workdir, artist, config, setup, computed, first, resuming, interrupted)


def train(
    computed: Computation, rules: Rules, state: LoopState, sinks: Sinks, *, patience: int
) -> tuple[LoopState, int, str]:
    """Trains from a state to the end, and tests the best weights.

    Args:
        computed: what is computed with.
        rules: when to end and save.
        state: to go on from; its arrays are donated.
        sinks: where everything goes.
        patience: of early stopping.

    Returns:
        The last state, the step of the best weights, and `completed`, `stopped early` or `interrupted`.

    Raises:
        DivergedError: a value was not finite.
    """
    first_step = int(state.train.step)
    if first_step == 0:
        state, progress = loop.validate(state, 0, computed.parts, rules, sinks)
    else:
        progress = progress_of(jax.device_get(state.stopping), patience)
    chunks = computed.chunks(first_step, rules.total_steps)
    state, progress, status = loop.fit(state, progress, chunks, parts=computed.parts, rules=rules, sinks=sinks)
    best_step = max(int(progress.best_step), 0)  # Of an interrupted run the first may be still to come.
    if status != INTERRUPTED:
        if progress.best_step < 0:
            raise DivergedError("early_stopping.metric was finite in no validation; look at another measure")
        sinks.record(Record(best_step, rules.epoch_of(best_step), "test", computed.test(state.best)))
    return state, best_step, status


def _run_in(
    workdir: Path,
    artist: Artist,
    config: configuration.Config,
    setup: Setup,
    computed: Computation,
    first: LoopState,
    resuming: bool,
    interrupted: Callable[[], bool],
) -> str:
    fields, rules = configuration.flatten(config), setup.rules
    saver = Saver(workdir / "checkpoints")
    restored = saver.restore(first) if resuming else None
    state, spent = restored or (first, {"seconds": 0.0, "best_seconds": 0.0})
    clock = report.Clock(spent, int(state.stopping.best_step))
    write, close = outputs.opened(
        workdir, rules, int(state.train.step), resumed=restored is not None, metric=config.early_stopping.metric
    )
    record = to_all(clock.note, write)
    sinks = Sinks(
        record,
        inspector(config, setup, record),
        lambda state: saver.save(state, clock.read(int(state.stopping.best_step))),
        lambda: job.any_of(interrupted()),
    )
    try:
        state, best_step, status = train(computed, rules, state, sinks, patience=config.early_stopping.patience)
    except DivergedError as error:
        message = report.diverged(
            workdir, artist, fields=fields, error=error, last_checkpoint=saver.describe_last(), rules=rules
        )
        artist.finish()
        raise DivergedError(message) from error
    finally:
        close()
    report.ended(
        workdir,
        artist,
        fields=fields,
        status=status,
        parameters=optax.tree.size(state.best.params),
        rules=rules,
        best_step=best_step,
        spent=clock.read(best_step),
    )
    saver.wait()
    artist.finish()
    if status == INTERRUPTED:
        say(f"the same command goes on from step {int(state.train.step)}")
    return status
