"""From the fields of a config to the parts of a run; what does not fit together is named by its field."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from jax.sharding import Mesh

from tricks import losses, models, schedules
from tricks.arguments import require_choice
from tricks.config import Config, OptimizerConfig
from tricks.data import Dataset
from tricks.errors import UserError
from tricks.losses import Loss
from tricks.models import Network
from tricks.training import assembly, feed, optimizer
from tricks.training.assembly import EscapePlan, Hyper, Static

# Options of the network that are numbers, and so may be traced.
_MODEL_NUMBERS = ("dropout", "noise", "input_noise", "batch_norm_momentum")
_RISING = frozenset({"accuracy"})


def check(config: Config) -> None:
    """Refuses names that nothing in the library has, and fields that the chosen parts do not use.

    Args:
        config: one whose fields have the right types and ranges.

    Raises:
        UserError: names the field, its value and what is allowed.
    """
    loss = find_loss(config)
    with _fields_of("optimizer"):
        family = optimizer.family(config.optimizer.name)
    _check_unused(config.optimizer, family)
    if config.early_stopping.metric not in loss.names:
        raise UserError(
            f"early_stopping.metric is {config.early_stopping.metric!r}; with loss.name={config.loss.name} allowed: "
            f"{', '.join(loss.names)}"
        )
    with _fields_of("schedule"):
        require_choice("shape", config.schedule.shape, schedules.SHAPES)
    with _fields_of("model"):
        models.multilayer_perceptron(input_size=1, output_size=1, **vars(config.model))


def find_loss(config: Config) -> Loss:
    """The loss of a config.

    Args:
        config: names it.

    Returns:
        The loss.

    Raises:
        UserError: there is none of that name.
    """
    with _fields_of("loss"):
        return losses.named(config.loss.name)


def make_network(config: Config, data: Dataset) -> Network:
    """The network of a config for a data set, for use without training.

    Args:
        config: a valid one.
        data: says how many features and outputs there are.

    Returns:
        The network.

    Raises:
        UserError: the loss does not take the targets.
    """
    return models.multilayer_perceptron(**_sizes(config, data), **vars(config.model))


def plan_epoch(config: Config, data: Dataset, mesh: Mesh) -> feed.Plan:
    """How the epochs of a run are cut.

    Args:
        config: a valid one.
        data: says how many examples there are.
        mesh: the devices.

    Returns:
        The plan.

    Raises:
        UserError: the batch, the number of epochs or the warm-up does not fit.
    """
    plan = feed.plan_epoch(len(data.train.targets), config.data.batch_size, config.train.chunk_steps, mesh.size)
    total_steps = plan.steps_per_epoch * config.train.epochs
    if total_steps >= 2**31:
        raise UserError(
            f"train.epochs is {config.train.epochs}; the run would have {total_steps:,} steps: choose fewer"
        )
    if config.schedule.warmup_steps >= total_steps:
        raise UserError(
            f"schedule.warmup_steps is {config.schedule.warmup_steps}; the run has {total_steps} steps: choose fewer"
        )
    return plan


def assemble(config: Config, data: Dataset, mesh: Mesh, total_steps: int) -> tuple[Static, Hyper]:
    """What a run is compiled for, and its numbers.

    Args:
        config: one that `check` has passed.
        data: says how many features and outputs there are.
        mesh: the devices.
        total_steps: of the run.

    Returns:
        Both, for the functions of `tricks.training.assembly`.

    Raises:
        UserError: the loss does not take the targets, or numbers do not go together.
    """
    model = {name: value for name, value in vars(config.model).items() if not _is_number(name, value)}
    chosen = vars(config.optimizer)
    family = optimizer.family(config.optimizer.name)
    options = {name: chosen[name] for name in family.arguments if isinstance(chosen[name], bool)}
    numbers = {name: chosen[name] for name in ("learning_rate", *family.arguments) if name not in options}
    decays = {name: chosen[name] for name in ("l1", "l2") if not optimizer.is_off(chosen[name])}
    metric = config.early_stopping.metric
    static = Static(
        network=models.multilayer_perceptron,
        options=tuple(sorted({**_sizes(config, data), **model}.items())),
        loss=find_loss(config),
        optimizer=config.optimizer.name,
        optimizer_options=tuple(sorted(options.items())),
        schedule=config.schedule.shape,
        monitored=metric,
        falls=metric not in _RISING,
        mesh=mesh,
        escape=_escape_plan(config, data, mesh) if config.escape.enabled else None,
    )
    hyper = Hyper(
        model={name: value for name, value in vars(config.model).items() if name not in model},
        optimizer=numbers | decays,
        schedule={
            "warmup_steps": config.schedule.warmup_steps,
            "total_steps": total_steps,
            "end_value": config.schedule.end_value,
        },
        early_stopping={
            "patience": config.early_stopping.patience,
            "min_delta": config.early_stopping.min_delta,
        },
    )
    with _fields_of("optimizer"):
        assembly.make_optimizer(static, hyper)
    return static, hyper


def _escape_plan(config: Config, data: Dataset, mesh: Mesh) -> EscapePlan:
    # It brings tricks.curvature, which takes longer to import than a run without it has to spare.
    from tricks.training import saddle

    fields = dict(vars(config.escape))
    for name in ("enabled", "examples", "statistics"):
        del fields[name]
    examples = saddle.count_examples(len(data.train.targets), mesh.size, config.escape.examples)
    return saddle.make_plan(
        batch_statistics=config.escape.statistics == "batch",
        examples=examples,
        cost=examples / config.data.batch_size,
        **fields,
    )


def _is_number(name: str, value: Any) -> bool:
    return name in _MODEL_NUMBERS and not optimizer.is_off(value)


def _sizes(config: Config, data: Dataset) -> dict[str, Any]:
    try:
        outputs = find_loss(config).count_outputs(data.classes)
    except ValueError as error:
        raise UserError(f"loss.name is {config.loss.name!r}; {error} (data.name is {data.name!r})") from error
    return {"input_size": data.train.features.shape[1], "output_size": outputs}


def _check_unused(fields: OptimizerConfig, family: optimizer.Family) -> None:
    everywhere = {"name", "learning_rate", "l1", "l2"}
    for field in dataclasses.fields(fields):
        value = getattr(fields, field.name)
        if field.name not in everywhere | set(family.arguments) and value != field.default:
            owners = [name for name, other in optimizer.FAMILIES.items() if field.name in other.arguments]
            raise UserError(
                f"optimizer.{field.name} is {value!r}, which {fields.name} does not use, only {', '.join(owners)}: "
                f"choose one of them, or leave it at {field.default!r}"
            )


@contextlib.contextmanager
def _fields_of(section: str) -> Iterator[None]:
    """Puts the section before the name of the field that a message of the library begins with."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{section}.{error}") from error
