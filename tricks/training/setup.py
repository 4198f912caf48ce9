"""What a config comes to: its data, loaded, and its parts, assembled."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from tricks import config_checks
from tricks.config import Config
from tricks.data import Dataset
from tricks.training import assembly, configured, feed, model_parts, network_check, sources
from tricks.training.assembly import Hyper, Static
from tricks.training.loop import Rules
from tricks.training.records import Record
from tricks.training.sources import Sources
from tricks.training.state import TrainState, weights


class Setup(NamedTuple):
    """What a config comes to, ready to be compiled."""

    data: Dataset
    plan: feed.Plan
    static: Static
    hyper: Hyper
    rules: Rules
    on_device: bool
    own: Sources
    """What a person's own files came to."""
    network: str
    """Fingerprint of the network and the loss; empty for those of this package."""


def set_up(config: Config, folders: Sequence[Path] = (Path(),)) -> Setup:
    """Loads the data and assembles the run.

    Args:
        config: what to do; options of a person's own functions that it lacks are filled in.
        folders: where relative files that it names are looked for, in this order.

    Returns:
        `Setup`.

    Raises:
        UserError: a field is wrong, the data cannot be loaded, or the fields do not fit it.
    """
    config_checks.validate(config)
    own = sources.find(config, folders)
    model_parts.complete_options(config, own.functions)
    configured.check(config, own.functions)
    return assembled(config, own)


def assembled(config: Config, own: Sources, mesh: Mesh | None = None) -> Setup:
    """Loads the data and assembles the run, once its functions are found.

    Args:
        config: one that is checked.
        own: what a person's own files come to.
        mesh: the devices; None for all of them, as the config divides them.

    Returns:
        `Setup`.

    Raises:
        UserError: the data cannot be loaded, or the fields do not fit it.
    """
    data = sources.load(config, own)
    mesh = mesh or feed.make_mesh(config.mesh.data, config.mesh.model)
    plan = configured.plan_epoch(config, data, mesh)
    total_steps = plan.steps_per_epoch * config.train.epochs
    static, hyper = configured.assemble(config, data, mesh, total_steps, own.functions)
    fits = config.data.placement == "auto" and config.data.storage == "memory" and feed.fits_on_device(data.train)
    on_device = config.data.placement == "device" or fits
    rules = Rules(plan.steps_per_epoch, total_steps, config.checkpoint.every_epochs)
    batch = assembly.batch_of(data.train, config.data.batch_size)
    network = network_check.fingerprint(assembly.make_network(static), static.loss, batch) if own.functions else ""
    return Setup(data, plan, static, hyper, rules, on_device, own, network)


def inspector(config: Config, setup: Setup, record: Callable[[Record], None]) -> Callable[[int, TrainState], None]:
    """What the loop calls after each validation: measurements of curvature and of layers, where they are asked for.

    Args:
        config: says how often, and on how many examples.
        setup: of the run.
        record: takes the lines of metrics.

    Returns:
        `inspect(step, state)`.
    """
    measures: list[tuple[str, int, Callable[[TrainState], dict[str, float]]]] = []
    if config.curvature.every_epochs:
        # It brings tricks.curvature, which takes longer to import than a run without it has to spare.
        from tricks.training import hessian

        measure = hessian.make_measure(
            setup.static, setup.data.train, examples=config.curvature.examples, seed=config.seed
        )
        measures.append(("curvature", config.curvature.every_epochs, lambda state: measure(weights(state))))
    if config.diagnosis.every_epochs:
        from tricks.training import glances

        look = glances.make_measure(
            setup.static, setup.hyper, setup.data.train, examples=config.data.batch_size, seed=config.seed
        )
        measures.append(("diagnosis", config.diagnosis.every_epochs, look))

    def inspect(step: int, state: TrainState) -> None:
        epoch = setup.rules.epoch_of(step)
        for kind, every, numbers in measures:
            if epoch % every == 0:
                record(Record(step, epoch, kind, numbers(state)))

    return inspect
