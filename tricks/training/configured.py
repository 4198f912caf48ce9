"""From the fields of a config to the parts of a run; what does not fit together is named by its field."""

import dataclasses
import functools
from typing import Any

from jax.sharding import Mesh

from tricks import models, schedules
from tricks.arguments import require_choice
from tricks.augmentation import augment
from tricks.config import PERCEPTRON, Config, ModelConfig, OptimizerConfig
from tricks.data import Dataset
from tricks.errors import UserError, told_of
from tricks.losses import Batch
from tricks.models import Network
from tricks.training import assembly, feed, model_parts, network_check, optimizer, shardings
from tricks.training.assembly import EscapePlan, Hyper, Static
from tricks.training.model_parts import Functions
from tricks.training.placement import shares

# Options of the network that are numbers, and so may be traced.
_MODEL_NUMBERS = ("dropout", "noise", "input_noise", "batch_norm_momentum")
_STRENGTHS = ("shift", "rotation", "scale", "cutout", "noise", "feature_dropout", "mixup")


def check(config: Config, functions: Functions = {}) -> None:  # noqa: B006  Never written to.
    """Refuses names that nothing in the library has, and fields that the chosen parts do not use.

    Args:
        config: one whose fields have the right types and ranges.
        functions: of a person's own.

    Raises:
        UserError: names the field, its value and what is allowed.
    """
    loss = model_parts.find_loss(config, functions)
    with told_of("optimizer."):
        family = optimizer.family(config.optimizer.name)
    _check_unused(config.optimizer, family)
    _check_rule(config, functions)
    if "loss.name" not in functions:
        check_metric(config, loss.names)
        if config.loss.outputs:
            raise UserError(
                f"loss.outputs is {config.loss.outputs}; {config.loss.name} knows its own: leave it at 0, which only a "
                "loss of one's own may need otherwise"
            )
    with told_of("schedule."):
        require_choice("shape", config.schedule.shape, schedules.SHAPES)
    if "model.build" in functions:
        _check_perceptron_unused(config.model)
    elif config.model.build != PERCEPTRON:
        raise UserError(
            f"model.build is {config.model.build!r}; allowed: {PERCEPTRON}, or a function of your own as "
            "file.py:function"
        )
    else:
        with told_of("model."):
            models.multilayer_perceptron(input_size=1, output_size=1, **model_parts.perceptron_options(config))


def _check_rule(config: Config, functions: Functions) -> None:
    if config.mesh.rule and "mesh.rule" not in functions:
        raise UserError(
            f"mesh.rule is {config.mesh.rule!r}; allowed: a function of your own as file.py:function, or nothing for "
            "the largest dimension that divides"
        )


def check_metric(config: Config, names: tuple[str, ...]) -> None:
    """Refuses to look at a measure that the loss does not give.

    Args:
        config: names the measure.
        names: of the measures.

    Raises:
        UserError: it is none of them.
    """
    if config.early_stopping.metric not in names:
        raise UserError(
            f"early_stopping.metric is {config.early_stopping.metric!r}; with loss.name={config.loss.name} allowed: "
            f"{', '.join(names)}"
        )


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
    plan = feed.plan_epoch(len(data.train.targets), config.data.batch_size, config.train.chunk_steps, shares(mesh))
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


def assemble(
    config: Config,
    data: Dataset,
    mesh: Mesh,
    total_steps: int,
    functions: Functions = {},  # noqa: B006  Never written to.
) -> tuple[Static, Hyper]:
    """What a run is compiled for, and its numbers.

    Args:
        config: one that `check` has passed.
        data: says what goes in and what must come out.
        mesh: the devices.
        total_steps: of the run.
        functions: of a person's own.

    Returns:
        Both, for the functions of `tricks.training.assembly`.

    Raises:
        UserError: the loss does not take the targets, the network does not fit them, or numbers do not go together.
    """
    parts = model_parts.make(config, data, functions)
    check_metric(config, parts.loss.names)
    hyper = numbers(config, total_steps, of_model="model.build" not in functions)
    metric = config.early_stopping.metric
    static = Static(
        network=parts.build,
        example=parts.example,
        outputs=parts.outputs,
        options=tuple(sorted((n, value) for n, value in parts.options.items() if n not in hyper.model)),
        loss=parts.loss,
        optimizer=config.optimizer.name,
        optimizer_options=tuple(sorted(_choices(config).items())),
        schedule=config.schedule.shape,
        monitored=metric,
        falls=_falls(config),
        mesh=mesh,
        escape=_escape_plan(config, data, mesh) if config.escape.enabled else None,
        augment=functions.get("data.augment.function"),
        compute=config.precision.compute,
        rule=_asked_once(functions.get("mesh.rule")) if shardings.count(mesh) > 1 else None,
    )
    with told_of("optimizer."):
        assembly.make_optimizer(static, hyper)
    batch = assembly.batch_of(data.train, config.data.batch_size)
    if functions and config.precision.compute != "float32":
        _check_precision(assembly.computing_network(static, hyper), config.precision.compute, batch)
    _check_augmentation(config, static, hyper, batch)
    if static.rule is not None:
        with told_of(f"mesh.rule is {config.mesh.rule!r}; "):
            shardings.dimensions(mesh, static.rule, shardings.shapes(static))
    return static, hyper


def numbers(config: Config, total_steps: int, *, of_model: bool = True) -> Hyper:
    """The numbers of a config.

    Args:
        config: one that `check` has passed.
        total_steps: of the run.
        of_model: whether the options of the model are those of the perceptron, of which numbers may be traced.

    Returns:
        `Hyper`, without what is off.
    """
    chosen = vars(config.optimizer)
    choices = _choices(config)
    names = ("learning_rate", *optimizer.family(config.optimizer.name).arguments)
    decays = {name: chosen[name] for name in ("l1", "l2") if not optimizer.is_off(chosen[name])}
    model = {name: getattr(config.model, name) for name in _MODEL_NUMBERS} if of_model else {}
    return Hyper(
        model={name: value for name, value in model.items() if not optimizer.is_off(value)},
        optimizer={name: chosen[name] for name in names if name not in choices} | decays,
        schedule={
            "warmup_steps": config.schedule.warmup_steps,
            "total_steps": total_steps,
            "end_value": config.schedule.end_value,
        },
        early_stopping={
            "patience": config.early_stopping.patience,
            "min_delta": config.early_stopping.min_delta,
        },
        augment={
            name: value for name in _STRENGTHS if not optimizer.is_off(value := getattr(config.data.augment, name))
        },
    )


def _asked_once(rule: shardings.Rule | None) -> shardings.Rule | None:
    """A rule whose first answer for an array stands: what is refused, told and done must not be three answers."""
    return None if rule is None else functools.cache(rule)


def _check_precision(network: Network, compute: str, batch: Batch) -> None:
    try:
        network_check.check(network, batch.features)
        network_check.lower(network, batch.features)
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"precision.compute is {compute!r}, in which the network cannot be computed; choose float32, or let the "
            f"network follow the types of its parameters and features ({error})"
        ) from error


def _check_augmentation(config: Config, static: Static, hyper: Hyper, batch: Batch) -> None:
    if static.augment is not None:
        with told_of(f"data.augment.function is {config.data.augment.function!r}; "):
            network_check.check_augmentation(static.augment, batch)
    strengths: dict[str, Any] = hyper.augment
    if strengths:
        with told_of("data.augment."):
            network_check.check_augmentation(functools.partial(augment, **strengths), batch)


def _escape_plan(config: Config, data: Dataset, mesh: Mesh) -> EscapePlan:
    # It brings tricks.curvature, which takes longer to import than a run without it has to spare.
    from tricks.training import saddle

    fields = dict(vars(config.escape))
    for name in ("enabled", "examples", "statistics"):
        del fields[name]
    examples = saddle.count_examples(len(data.train.targets), shares(mesh), config.escape.examples)
    return saddle.make_plan(
        batch_statistics=config.escape.statistics == "batch",
        examples=examples,
        cost=examples / config.data.batch_size,
        **fields,
    )


def _choices(config: Config) -> dict[str, bool]:
    chosen = vars(config.optimizer)
    return {
        name: chosen[name]
        for name in optimizer.family(config.optimizer.name).arguments
        if isinstance(chosen[name], bool)
    }


def _falls(config: Config) -> bool:
    if config.early_stopping.mode == "auto":
        return "accuracy" not in config.early_stopping.metric
    return config.early_stopping.mode == "min"


def _check_perceptron_unused(fields: ModelConfig) -> None:
    for field in dataclasses.fields(fields):
        value = getattr(fields, field.name)
        if field.name not in ("build", "options") and value != field.default:
            raise UserError(
                f"model.{field.name} is {value!r}, which {fields.build} does not use, only the {PERCEPTRON}: leave it "
                f"at {field.default!r}, and give the function's own options as model.options"
            )


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
