"""From a config to a run directory: loads, builds, trains, tests, reports."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import tricks
from tricks import config as configuration
from tricks import losses, models, schedules
from tricks.data import Dataset
from tricks.data import load as load_data
from tricks.errors import DivergedError, UserError
from tricks.training import checkpoints, curves, feed, loop, optimizer, records, run_directory, state, summary
from tricks.training.evaluation import make_evaluate
from tricks.training.interrupt import catch_interrupts
from tricks.training.progress import Progress, result_table
from tricks.training.records import Record
from tricks.training.step import make_train_chunk, make_train_step

INTERRUPTED = "interrupted"


class _Setup(NamedTuple):
    data: Dataset
    mesh: Mesh
    plan: feed.Plan
    total_steps: int
    on_device: bool
    apply: models.Apply
    measure: losses.Measure
    tx: optax.GradientTransformation
    initial: state.TrainState


class _Clock:
    """Seconds of training over all sittings, and at which of them each validation came."""

    def __init__(self, before: Mapping[str, float], best_step: int) -> None:
        self._offset = before["seconds"] - time.monotonic()
        self._validations = {best_step: before["best_seconds"]}

    def now(self) -> float:
        return self._offset + time.monotonic()

    def note(self, line: Record) -> None:
        if line.split == "validation":
            self._validations[line.step] = self.now()

    def read(self, best_step: int) -> dict[str, float]:
        return {"seconds": self.now(), "best_seconds": self._validations.get(best_step, 0.0)}


def run(config: configuration.Config, workdir: Path) -> str:
    """Runs an experiment, or goes on with one that was interrupted.

    Args:
        config: what to do.
        workdir: the run directory; made where it is missing.

    Returns:
        `completed`, `stopped early` or `interrupted`.

    Raises:
        UserError: the config, the data or the directory cannot be used.
        DivergedError: a value was not finite.
    """
    configuration.validate(config)
    setup = _set_up(config)
    fields = configuration.flatten(config)
    resuming = run_directory.open_directory(workdir, fields)
    print(_heading(setup))
    with run_directory.locked(workdir):
        return _run_in(workdir, config, setup, fields, resuming)


def _run_in(workdir: Path, config: configuration.Config, setup: _Setup, fields: dict[str, Any], resuming: bool) -> str:
    saved = checkpoints.open_directory(workdir / "checkpoints")
    first = loop.initial(setup.initial)
    restored = checkpoints.restore(saved, first) if resuming else None
    loop_state, spent = restored or (first, {"seconds": 0.0, "best_seconds": 0.0})
    if restored:
        print(f"resuming {workdir} at step {int(loop_state.train.step)} of {setup.total_steps}")
    clock = _Clock(spent, int(loop_state.stopping.best_step))
    writer = records.Writer(workdir, int(loop_state.train.step) if restored else -1)
    progress = Progress(
        steps_per_epoch=setup.plan.steps_per_epoch,
        total_steps=setup.total_steps,
        first_step=int(loop_state.train.step),
    )

    def record(line: Record) -> None:
        clock.note(line)
        writer.write(line)
        progress.show(line)

    def save(state: state.LoopState) -> None:
        checkpoints.save(saved, state, clock.read(int(state.stopping.best_step)))

    try:
        loop_state, status = _train(config, setup, loop_state, record, save)
    except DivergedError as error:
        raise DivergedError(f"training diverged: {error}; {_advice(config, saved)}") from error
    finally:
        progress.close()
        writer.close()
    best_step = int(loop_state.stopping.best_step)
    _report(workdir, fields, status, loop_state, setup.plan, clock.read(best_step))
    return status


def _set_up(config: configuration.Config) -> _Setup:
    data = load_data(
        config.data.name,
        validation_fraction=config.data.validation_fraction,
        seed=config.seed,
        directory=config.data.directory,
    )
    _check_loss(config.loss.name, data)
    mesh = feed.make_mesh()
    plan = feed.plan_epoch(len(data.train.targets), config.data.batch_size, config.train.chunk_steps, mesh.size)
    total_steps = plan.steps_per_epoch * config.train.epochs
    on_device = config.data.placement == "device" or (
        config.data.placement == "auto" and feed.fits_on_device(data.train)
    )
    apply, initial, tx = _build(config, data, total_steps)
    initial = jax.device_put(initial, NamedSharding(mesh, PartitionSpec()))
    return _Setup(data, mesh, plan, total_steps, on_device, apply, losses.MEASURES[config.loss.name], tx, initial)


def _train(
    config: configuration.Config,
    setup: _Setup,
    loop_state: state.LoopState,
    record: Callable[[Record], None],
    save: Callable[[state.LoopState], None],
) -> tuple[state.LoopState, str]:
    data, mesh, plan, on_device = setup.data, setup.mesh, setup.plan, setup.on_device
    rules = loop.Rules(
        plan.steps_per_epoch,
        setup.total_steps,
        config.early_stopping.metric,
        config.early_stopping.patience,
        config.early_stopping.min_delta,
        config.checkpoint.every_epochs,
    )
    train_step = make_train_step(losses.mean_loss(setup.apply, setup.measure), setup.tx)
    chunk = make_train_chunk(train_step, NamedSharding(mesh, PartitionSpec("data")))
    evaluate = make_evaluate(setup.apply, setup.measure, data.validation, mesh, on_device=on_device)
    with catch_interrupts() as interrupted:
        run_chunk = loop.compile_chunks(chunk, loop_state.train, data.train, plan, mesh, on_device=on_device)
        first_step = int(loop_state.train.step)
        if first_step == 0:
            loop_state = loop.validate(loop_state, 0, evaluate, rules, record)
        loop_state, status = loop.fit(
            loop_state,
            feed.chunks(
                data.train,
                plan,
                first_step=first_step,
                last_step=setup.total_steps,
                seed=config.seed,
                mesh=mesh,
                on_device=on_device,
            ),
            run_chunk=run_chunk,
            evaluate=evaluate,
            rules=rules,
            record=record,
            save=save,
            interrupted=interrupted,
        )
        if status != INTERRUPTED:
            test = make_evaluate(setup.apply, setup.measure, data.test, mesh, on_device=on_device)(loop_state.best)
            best_step = int(loop_state.stopping.best_step)
            record(Record(best_step, -(-best_step // plan.steps_per_epoch), "test", test.loss, test.accuracy))
    return loop_state, status


def _build(config: configuration.Config, data: Dataset, total_steps: int) -> tuple[models.Apply, state.TrainState, Any]:
    model_key, step_key = jax.random.split(jax.random.key(config.seed))
    one_output = config.loss.name in ("sigmoid", "squared_error")
    apply, params, model_state = models.build(
        input_size=data.train.features.shape[1],
        output_size=1 if one_output else data.classes or 1,
        key=model_key,
        **vars(config.model),
    )
    if config.schedule.warmup_steps >= total_steps:
        raise UserError(
            f"schedule.warmup_steps is {config.schedule.warmup_steps}; the run has {total_steps} steps: choose fewer"
        )
    schedule = schedules.warmup_decay(
        config.optimizer.learning_rate,
        config.schedule.warmup_steps,
        total_steps,
        config.schedule.end_value,
        config.schedule.shape,
    )
    options = {k: v for k, v in dataclasses.asdict(config.optimizer).items() if k not in ("name", "learning_rate")}
    tx = optimizer.make(config.optimizer.name, schedule, **options)
    return apply, state.create(params, model_state, tx, step_key), tx


def _check_loss(name: str, data: Dataset) -> None:
    if name == "squared_error" and data.classes:
        raise UserError(f"loss.name is {name!r}; {data.name!r} is a classification: choose cross_entropy")
    if name != "squared_error" and not data.classes:
        raise UserError(f"loss.name is {name!r}; {data.name!r} is a regression: choose squared_error")
    if name == "sigmoid" and data.classes != 2:
        raise UserError(f"loss.name is 'sigmoid'; {data.name!r} has {data.classes} classes: choose cross_entropy")


def _heading(setup: _Setup) -> str:
    data = setup.data
    kind = f"{data.classes} classes" if data.classes else "regression"
    counts = " / ".join(f"{len(split.targets):,}" for split in (data.train, data.validation, data.test))
    return (
        f"{data.name}: {counts} examples (train / validation / test)\n"
        f"{data.train.features.shape[1]} features, {kind}; "
        f"{models.count_parameters(setup.initial.params):,} parameters; "
        f"{setup.plan.steps_per_epoch} steps an epoch on {setup.mesh.size} x {jax.devices()[0].device_kind}"
    )


def _advice(config: configuration.Config, saved: checkpoints.Checkpoints) -> str:
    return (
        f"{checkpoints.describe_last(saved)}; "
        f"try an optimizer.learning_rate below {config.optimizer.learning_rate:g}, or more "
        f"schedule.warmup_steps than {config.schedule.warmup_steps}"
    )


def _report(
    workdir: Path,
    fields: dict[str, Any],
    status: str,
    loop_state: state.LoopState,
    plan: feed.Plan,
    spent: Mapping[str, float],
) -> None:
    lines = records.read(workdir)
    best_step = int(loop_state.stopping.best_step)
    content = summary.make(
        fields=fields,
        status=status,
        parameters=models.count_parameters(loop_state.best.params),
        best_step=best_step,
        records=lines,
        spent=spent,
        version=tricks.__version__,
    )
    run_directory.write_json(workdir / "summary.json", content)
    title = f"{fields['data.name']}, {fields['optimizer.name']}, batch {fields['data.batch_size']}"
    curves.draw(lines, workdir / "curves.png", steps_per_epoch=plan.steps_per_epoch, best_step=best_step, title=title)
    print(f"{status} after {spent['seconds']:.1f} s; at the best epoch:")
    print(result_table(summary.at_best(lines, best_step)))
    print(f"run directory: {workdir}")
    if status == INTERRUPTED:
        print(f"the same command goes on from step {int(loop_state.train.step)}")
