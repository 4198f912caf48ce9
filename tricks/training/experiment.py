"""From a config to a run directory: loads, builds, trains, tests, reports."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

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
    data = load_data(
        config.data.name,
        validation_fraction=config.data.validation_fraction,
        seed=config.seed,
        directory=config.data.directory,
    )
    _check_loss(config.loss.name, data)
    mesh = feed.make_mesh()
    plan = feed.plan_epoch(
        len(data.train.targets), config.data.batch_size, config.train.chunk_steps, jax.device_count()
    )
    total_steps = plan.steps_per_epoch * config.train.epochs
    on_device = config.data.placement == "device" or (
        config.data.placement == "auto" and feed.fits_on_device(data.train)
    )
    apply, train_state, tx = _build(config, data, total_steps)
    train_state = jax.device_put(train_state, NamedSharding(mesh, PartitionSpec()))
    measure = losses.MEASURES[config.loss.name]
    fields = configuration.flatten(config)

    resuming = run_directory.open_directory(workdir, fields)
    print(_heading(data, plan, train_state.params, mesh.size))
    saved = checkpoints.open_directory(workdir / "checkpoints")
    like = loop.initial(train_state)
    restored = checkpoints.restore(saved, like) if resuming else None
    first_step = int(restored[0].train.step) if restored else 0
    seconds_before = restored[1] if restored else 0.0
    if restored:
        print(f"resuming {workdir} at step {first_step} of {total_steps}")
    started = time.monotonic()

    rules = loop.Rules(
        plan.steps_per_epoch,
        total_steps,
        config.early_stopping.metric,
        config.early_stopping.patience,
        config.early_stopping.min_delta,
        config.checkpoint.every_epochs,
    )
    chunk = make_train_chunk(
        make_train_step(losses.mean_loss(apply, measure), tx), NamedSharding(mesh, PartitionSpec("data"))
    )
    evaluate = make_evaluate(apply, measure, data.validation, mesh, on_device=on_device)
    writer = records.Writer(workdir, first_step if restored else -1)
    progress = Progress(steps_per_epoch=plan.steps_per_epoch, total_steps=total_steps, first_step=first_step)

    def record(line: Record) -> None:
        writer.write(line)
        progress.show(line)

    with catch_interrupts() as interrupted:
        try:
            loop_state = restored[0] if restored else loop.validate(like, 0, evaluate, rules, record)
            del restored, like, train_state
            loop_state, status = loop.fit(
                loop_state,
                feed.chunks(
                    data.train,
                    plan,
                    first_step=first_step,
                    last_step=total_steps,
                    seed=config.seed,
                    mesh=mesh,
                    on_device=on_device,
                ),
                run_chunk=loop.compile_chunks(chunk, loop_state.train, data.train, plan, mesh, on_device=on_device),
                evaluate=evaluate,
                rules=rules,
                record=record,
                save=lambda state: checkpoints.save(saved, state, seconds_before + time.monotonic() - started),
                interrupted=interrupted,
            )
            best_step = int(loop_state.stopping.best_step)
            if status != INTERRUPTED:
                test = make_evaluate(apply, measure, data.test, mesh, on_device=on_device)(loop_state.best)
                record(Record(best_step, -(-best_step // plan.steps_per_epoch), "test", test.loss, test.accuracy))
        except DivergedError as error:
            raise DivergedError(f"training diverged: {error}; {_advice(config, saved)}") from error
        finally:
            progress.close()
            writer.close()
    seconds = seconds_before + time.monotonic() - started
    _report(workdir, fields, status, models.count_parameters(loop_state.best.params), best_step, plan, seconds)
    return status


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


def _heading(data: Dataset, plan: feed.Plan, params: Any, devices: int) -> str:
    kind = f"{data.classes} classes" if data.classes else "regression"
    counts = " / ".join(f"{len(split.targets):,}" for split in (data.train, data.validation, data.test))
    device = jax.devices()[0].device_kind
    return (
        f"{data.name}: {counts} examples (train / validation / test), {data.train.features.shape[1]} features, {kind}\n"
        f"model: {models.count_parameters(params):,} parameters; {plan.steps_per_epoch} steps an epoch; "
        f"device: {devices} x {device}"
    )


def _advice(config: configuration.Config, saved: checkpoints.Checkpoints) -> str:
    return (
        f"{checkpoints.describe_last(saved)}; "
        f"try an optimizer.learning_rate below {config.optimizer.learning_rate:g}, or more "
        f"schedule.warmup_steps than {config.schedule.warmup_steps}"
    )


def _report(
    workdir: Path, fields: dict[str, Any], status: str, parameters: int, best_step: int, plan: feed.Plan, seconds: float
) -> None:
    lines = records.read(workdir)
    content = summary.make(
        fields=fields,
        status=status,
        parameters=parameters,
        best_step=best_step,
        records=lines,
        seconds=seconds,
        version=tricks.__version__,
    )
    run_directory.write_json(workdir / "summary.json", content)
    title = f"{fields['data.name']}, {fields['optimizer.name']}, batch {fields['data.batch_size']}"
    curves.draw(lines, workdir / "curves.png", steps_per_epoch=plan.steps_per_epoch, best_step=best_step, title=title)
    print(f"{status} after {seconds:.1f} s; at the best epoch:")
    print(result_table(summary.at_best(lines, best_step)))
    print(f"run directory: {workdir}")
