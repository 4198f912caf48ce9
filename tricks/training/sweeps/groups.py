"""Lanes that one program can train: those whose configs differ in numbers and seeds alone."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from tricks import config as configuration
from tricks import config_checks
from tricks.config import Config
from tricks.data import Dataset
from tricks.errors import UserError, told_of
from tricks.training import assembly, configured, feed, model_parts, network_check, sources
from tricks.training.assembly import Hyper, Static
from tricks.training.loop import Rules
from tricks.training.sources import Sources
from tricks.training.sweeps import lane_data
from tricks.training.sweeps.lane_data import LaneData
from tricks.training.sweeps.settings import Lane, shown

# Fields that are no part of a program: numbers that it takes, and what only the loop asks for.
NUMBERS = frozenset(
    {
        "seed",
        *(f"model.{name}" for name in ("dropout", "noise", "input_noise", "batch_norm_momentum")),
        *(f"optimizer.{name}" for name in ("learning_rate", "momentum", "second_moment_decay", "epsilon")),
        *(f"optimizer.{name}" for name in ("weight_decay", "l1", "l2")),
        *("schedule.warmup_steps", "schedule.end_value", "train.epochs", "data.label_noise"),
        *("early_stopping.patience", "early_stopping.min_delta"),
        *(f"data.augment.{name}" for name in ("shift", "rotation", "scale", "cutout", "noise", "mixup")),
        "data.augment.feature_dropout",
    }
)
# Fields that the examples depend on.
_OF_DATA_ONLY_IN_STEPS = ("data.augment.", "data.batch_size", "data.placement", "data.label_noise")


class Group(NamedTuple):
    """Lanes that one program can train."""

    lanes: tuple[Lane, ...]
    static: Static
    hypers: dict[int, Hyper]
    """Python's numbers, for each lane by its number; all have the same names."""
    rules: dict[int, Rules]
    """For each lane: its steps."""
    plan: feed.Plan
    data: LaneData
    examples: Dataset
    """Of the first lane, for those who ask for sizes and names."""
    own: Sources
    network: str
    """Fingerprint of a network or loss of a person's own."""


def divide(
    lanes: Sequence[Lane],
    mesh: Mesh,
    find: Callable[[Config], Sources],
    seen: Callable[[Dataset], Dataset] = lambda data: data,
) -> list[Group]:
    """Loads the data of all lanes, checks them, and puts together those that one program can train.

    Args:
        lanes: of a sweep.
        mesh: of lanes.
        find: what of a config is a person's own, as `sources.find` gives it.
        seen: what lanes see of a data set.

    Returns:
        Groups in the order of their first lanes.

    Raises:
        UserError: a lane cannot be trained; with its setting.
    """
    loaded: dict[Any, Dataset] = {}
    of_fields: dict[Any, list[Lane]] = {}
    found: dict[Any, Sources] = {}
    for lane in lanes:
        with _naming(lane):
            config_checks.validate(lane.config)
            if lane.config.data.storage == "disk":
                raise UserError("data.storage is 'disk'; a sweep keeps its examples on the device: allowed: memory")
            texts = tuple((n, v) for n, v in configuration.flatten(lane.config).items() if isinstance(v, str))
            if texts not in found:
                found[texts] = find(lane.config)
            model_parts.complete_options(lane.config, found[texts].functions)
            configured.check(lane.config, found[texts].functions)
        # Which numbers of a network of one's own may be traced is not known.
        own_network = "model.build" in found[texts].functions
        fields = configuration.flatten(lane.config)
        fixed = {n: v for n, v in fields.items() if n not in NUMBERS or (own_network and n.startswith("model."))}
        of_fields.setdefault((texts, _hashable(fixed)), []).append(lane)
    groups = []
    for (texts, _), members in of_fields.items():
        groups += _of_equal_sizes(members, found[texts], mesh, loaded, seen)
    return groups


def _of_equal_sizes(
    members: list[Lane],
    own: Sources,
    mesh: Mesh,
    loaded: dict[Any, Dataset],
    seen: Callable[[Dataset], Dataset],
) -> list[Group]:
    of_sizes: dict[Any, list[tuple[Lane, Dataset]]] = {}
    for lane in members:
        with _naming(lane):
            data = _load(lane, own, loaded, seen)
        sizes = jax.tree.map(lambda a: (a.shape, a.dtype), (data.train, data.validation, data.test))
        leaves, structure = jax.tree.flatten(sizes)
        of_sizes.setdefault((structure, *leaves, data.classes), []).append((lane, data))
    return [_group(pairs, own, mesh) for pairs in of_sizes.values()]


def _load(lane: Lane, own: Sources, loaded: dict[Any, Dataset], seen: Callable[[Dataset], Dataset]) -> Dataset:
    """Read once for all lanes that see the same examples, which then share their arrays."""
    fields = {
        name: value
        for name, value in configuration.flatten(lane.config).items()
        if name.startswith(("data.", "loss.")) and not name.startswith(_OF_DATA_ONLY_IN_STEPS)
    }
    place = _hashable({**fields, "seed": lane.config.seed})
    if place not in loaded:
        clean = dataclasses.replace(lane.config, data=dataclasses.replace(lane.config.data, label_noise=0.0))
        loaded[place] = sources.load(clean, own)
    noisy = (place, lane.config.data.label_noise)
    if noisy not in loaded:
        loaded[noisy] = seen(sources.with_label_noise(loaded[place], lane.config.data.label_noise, lane.config.seed))
    return loaded[noisy]


def _group(pairs: list[tuple[Lane, Dataset]], own: Sources, mesh: Mesh) -> Group:
    first, data = pairs[0]
    config = first.config
    for field, is_on, what in (
        ("escape.enabled", config.escape.enabled, "Hessian"),
        ("curvature.every_epochs", config.curvature.every_epochs, "Hessian"),
        ("diagnosis.every_epochs", config.diagnosis.every_epochs, "layers"),
    ):
        if is_on:
            raise UserError(f"{field} is on; a sweep looks at no {what}: switch it off, and train one lane with it")
    if config.mesh.model > 1:
        raise UserError(
            f"mesh.model is {config.mesh.model}; a sweep divides its lanes among the devices, each whole on one: leave "
            "it at 1, and train one lane with it"
        )
    alone = Mesh(mesh.devices.reshape(-1)[:1], ("data",))
    with _naming(first):
        plan = configured.plan_epoch(config, data, alone)
        steps = plan.steps_per_epoch * config.train.epochs
        static, _ = configured.assemble(config, data, alone, steps, own.functions)
    hypers, rules = {}, {}
    for lane, _ in pairs:
        with _naming(lane):
            configured.plan_epoch(lane.config, data, alone)  # Its warm-up may be too long.
            steps = plan.steps_per_epoch * lane.config.train.epochs
            hypers[lane.number] = configured.numbers(lane.config, steps, of_model="model.build" not in own.functions)
            with told_of("optimizer."):
                assembly.make_optimizer(static, hypers[lane.number])
            rules[lane.number] = Rules(plan.steps_per_epoch, steps, 1)
    hypers = _with_equal_names(hypers)
    traced = {*next(iter(hypers.values())).model}
    static = dataclasses.replace(static, options=tuple(o for o in static.options if o[0] not in traced))
    network = ""
    if own.functions:
        batch = assembly.batch_of(data.train, config.data.batch_size)
        network = network_check.fingerprint(assembly.make_network(static), static.loss, batch)
    tables = lane_data.tables({lane.number: one for lane, one in pairs})
    return Group(tuple(lane for lane, _ in pairs), static, hypers, rules, plan, tables, data, own, network)


def _with_equal_names(hypers: dict[int, Hyper]) -> dict[int, Hyper]:
    """What is off for some lanes is 0 for them, where others have it on."""
    names = [
        list(dict.fromkeys(name for h in hypers.values() for name in h[part])) for part in range(len(Hyper._fields))
    ]
    return {
        number: Hyper(*({name: part.get(name, 0.0) for name in wanted} for part, wanted in zip(h, names, strict=True)))
        for number, h in hypers.items()
    }


def _hashable(fields: dict[str, Any]) -> tuple[Any, ...]:
    # 1, 1.0 and True are equal, and no same setting.
    return tuple(sorted((name, type(value).__name__, repr(value)) for name, value in fields.items()))


@contextlib.contextmanager
def _naming(lane: Lane) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        chosen = ", ".join(f"{field}={shown(value)}" for field, value in lane.chosen.items())
        raise UserError(f"{error} (in the setting {chosen})" if chosen else str(error)) from error
