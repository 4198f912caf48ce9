"""From a config to a run directory: loads, builds, trains, tests, reports."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks import config as configuration
from tricks import losses, models, schedules, transforms
from tricks.data import Dataset
from tricks.data import load as load_data
from tricks.errors import DivergedError, UserError
from tricks.training import checkpoints, feed, loop, optimizer, records, report, run_directory, saddle, state
from tricks.training.curvature import make_curvature
from tricks.training.evaluation import make_evaluate
from tricks.training.interrupt import catch_interrupts
from tricks.training.progress import Progress, say
from tricks.training.records import Record
from tricks.training.state import Weights
from tricks.training.step import make_train_chunk, make_train_step

INTERRUPTED = "interrupted"


class Setup(NamedTuple):
    """What a config comes to, ready to be trained or looked at."""

    data: Dataset
    mesh: Mesh
    plan: feed.Plan
    total_steps: int
    on_device: bool
    apply: models.Apply
    measure: losses.Measure
    tx: optax.GradientTransformation
    initial: state.TrainState
    samples: saddle.Samples | None
    """Of saddle escape, where that is on."""


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
    setup = set_up(config)
    resuming = run_directory.open_directory(workdir, configuration.flatten(config))
    parameters = models.count_parameters(setup.initial.params)
    report.heading(setup.data, parameters=parameters, steps_per_epoch=setup.plan.steps_per_epoch)
    with run_directory.locked(workdir), catch_interrupts() as interrupted:
        return _run_in(workdir, config, setup, resuming, interrupted)


def _run_in(
    workdir: Path, config: configuration.Config, setup: Setup, resuming: bool, interrupted: Callable[[], bool]
) -> str:
    saved = checkpoints.open_directory(workdir / "checkpoints")
    first = loop.initial(setup.initial)
    restored = checkpoints.restore(saved, first) if resuming else None
    loop_state, spent = restored or (first, {"seconds": 0.0, "best_seconds": 0.0})
    first_step = int(loop_state.train.step)
    if restored:
        say(f"resuming {workdir} at step {first_step} of {setup.total_steps}")
    clock = report.Clock(spent, int(loop_state.stopping.best_step))
    if restored and all(line.step != first_step for line in records.read(workdir)):
        say(f"{workdir / records.FILE} lacks records up to step {first_step}; the curves will lack them too")
    writer = records.Writer(workdir, first_step if restored else -1)
    steps_per_epoch = setup.plan.steps_per_epoch
    progress = Progress(steps_per_epoch=steps_per_epoch, total_steps=setup.total_steps, first_step=first_step)

    def record(line: Record) -> None:
        clock.note(line)
        writer.write(line)
        progress.show(line)

    def save(state: state.LoopState) -> None:
        checkpoints.save(saved, state, clock.read(int(state.stopping.best_step)))

    fields = configuration.flatten(config)
    try:
        loop_state, status = _train(config, setup, loop_state, record, save, interrupted)
    except DivergedError as error:
        message = f"training diverged: {error}; {_advice(config, saved)}"
        report.diverged(workdir, fields=fields, message=message, steps_per_epoch=steps_per_epoch)
        raise DivergedError(message) from error
    finally:
        progress.close()
        writer.close()
    report.ended(
        workdir,
        fields=fields,
        status=status,
        parameters=models.count_parameters(loop_state.best.params),
        steps_per_epoch=steps_per_epoch,
        best_step=_best_step(loop_state),
        spent=clock.read(int(loop_state.stopping.best_step)),
    )
    if status == INTERRUPTED:
        say(f"the same command goes on from step {int(loop_state.train.step)}")
    return status


def _best_step(loop_state: state.LoopState) -> int:
    # The initial weights stand in where no validation was ever finite.
    return max(int(loop_state.stopping.best_step), 0)


def set_up(config: configuration.Config) -> Setup:
    """Loads the data and builds the model, the optimizer and the initial state.

    Args:
        config: a valid one.

    Returns:
        `Setup`.

    Raises:
        UserError: the data cannot be loaded, or the fields do not fit it.
    """
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
    if total_steps >= 2**31:
        raise UserError(
            f"train.epochs is {config.train.epochs}; the run would have {total_steps:,} steps: choose fewer"
        )
    on_device = config.data.placement == "device" or (
        config.data.placement == "auto" and feed.fits_on_device(data.train)
    )
    samples = None
    if config.escape.enabled:
        samples = saddle.sample(data.train, mesh, examples=config.escape.examples, seed=config.seed)
    apply, initial, tx = _build(config, data, total_steps, samples)
    # Ready before anything is written, so that a model too large for the memory leaves nothing behind.
    initial = jax.block_until_ready(jax.device_put(initial, NamedSharding(mesh, PartitionSpec())))
    measure = losses.MEASURES[config.loss.name]
    return Setup(data, mesh, plan, total_steps, on_device, apply, measure, tx, initial, samples)


def _train(
    config: configuration.Config,
    setup: Setup,
    loop_state: state.LoopState,
    record: Callable[[Record], None],
    save: Callable[[state.LoopState], None],
    interrupted: Callable[[], bool],
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
    value_fns = None
    if setup.samples is not None:
        value_fns = saddle.make_value_fns(
            setup.apply, setup.measure, batch_statistics=config.escape.statistics == "batch"
        )
    train_step = make_train_step(losses.mean_loss(setup.apply, setup.measure), setup.tx, value_fns)
    chunk = make_train_chunk(train_step, NamedSharding(mesh, PartitionSpec("data")))
    evaluate = make_evaluate(setup.apply, setup.measure, data.validation, mesh, on_device=on_device)
    run_chunk = loop.compile_chunks(
        chunk, loop_state.train, data.train, plan, mesh, on_device=on_device, samples=setup.samples
    )
    inspect = _inspector(config, setup, record)
    first_step = int(loop_state.train.step)
    if first_step == 0:
        loop_state = loop.validate(loop_state, 0, evaluate, rules, record)
        inspect(0, Weights(loop_state.train.params, loop_state.train.model_state))
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
        inspect=inspect,
        save=save,
        interrupted=interrupted,
    )
    if status != INTERRUPTED:
        test = make_evaluate(setup.apply, setup.measure, data.test, mesh, on_device=on_device)(loop_state.best)
        best_step = _best_step(loop_state)
        record(Record(best_step, -(-best_step // plan.steps_per_epoch), "test", test.loss, test.accuracy))
    return loop_state, status


def _inspector(
    config: configuration.Config, setup: Setup, record: Callable[[Record], None]
) -> Callable[[int, Weights], None]:
    every, steps_per_epoch = config.curvature.every_epochs, setup.plan.steps_per_epoch
    if every == 0:
        return lambda step, weights: None
    measure = make_curvature(
        setup.apply, setup.measure, setup.data.train, setup.mesh, examples=config.curvature.examples, seed=config.seed
    )

    def inspect(step: int, weights: Weights) -> None:
        epoch = step // steps_per_epoch
        if epoch % every == 0:
            record(Record(step, epoch, "curvature", **measure(weights)))

    return inspect


def _build(
    config: configuration.Config, data: Dataset, total_steps: int, samples: saddle.Samples | None
) -> tuple[models.Apply, state.TrainState, Any]:
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
    if samples is not None:
        escape = config.escape
        tx = transforms.escape_saddle(
            tx,
            window=escape.window,
            min_improvement=escape.min_improvement,
            cooldown=escape.cooldown,
            share=escape.share,
            cost=len(samples.checked.targets) / config.data.batch_size,
            max_products=escape.max_products,
            basis_size=escape.basis_size,
            min_decrease=escape.min_decrease,
            noise=escape.noise,
            seed=config.seed,
        )
    return apply, state.create(params, model_state, tx, step_key), tx


def _check_loss(name: str, data: Dataset) -> None:
    if name == "squared_error" and data.classes:
        raise UserError(f"loss.name is {name!r}; {data.name!r} is a classification: choose cross_entropy")
    if name != "squared_error" and not data.classes:
        raise UserError(f"loss.name is {name!r}; {data.name!r} is a regression: choose squared_error")
    if name == "sigmoid" and data.classes != 2:
        raise UserError(f"loss.name is 'sigmoid'; {data.name!r} has {data.classes} classes: choose cross_entropy")


def _advice(config: configuration.Config, saved: checkpoints.Checkpoints) -> str:
    return (
        f"{checkpoints.describe_last(saved)}; "
        f"try an optimizer.learning_rate below {config.optimizer.learning_rate:g}, or more "
        f"schedule.warmup_steps than {config.schedule.warmup_steps}"
    )
