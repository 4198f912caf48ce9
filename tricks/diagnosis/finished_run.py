"""A run that was trained, or still is, as its network, its data and its weights."""

from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from tricks import config as configuration
from tricks import config_checks
from tricks.data import Dataset
from tricks.errors import UserError, told_of
from tricks.losses import Loss
from tricks.models import Network
from tricks.training import (
    assembly,
    configured,
    feed,
    model_parts,
    network_check,
    run_directory,
    shardings,
    sources,
    stored_weights,
)
from tricks.training.sources import Sources
from tricks.training.state import Weights

WEIGHTS = (stored_weights.LAST, stored_weights.BEST)


class FinishedRun(NamedTuple):
    """A run, read."""

    config: configuration.Config
    data: Dataset
    network: Network
    loss: Loss
    weights: Weights
    step: int
    """Updates that the weights have had."""


def load(workdir: Path, weights: str = stored_weights.LAST, *, divided: bool = False) -> FinishedRun:
    """Reads the config of a run directory, its data set, and the weights of its newest checkpoint.

    Nothing of the training is built, and nothing in the directory is locked or changed: the run may be going on.

    Args:
        workdir: the run directory.
        weights: `last`, or `best` for those of the best validation.
        divided: divide them among the devices as training did, as far as there are so many; otherwise every device
            holds them whole.

    Returns:
        The run.

    Raises:
        UserError: it is no run directory, or has no checkpoint that can be read.
    """
    if weights not in WEIGHTS:
        raise UserError(f"--weights is {weights!r}; allowed: {', '.join(WEIGHTS)}")
    config, own = config_of(workdir)
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"--workdir {workdir} has no checkpoints; train it for an epoch first")
    data = sources.load(config, own)
    parts = model_parts.make(config, data, own.functions)
    network = parts.network()
    if own.functions:
        batch = assembly.batch_of(data.train, config.data.batch_size)
        sources.check_made(workdir, own, data, network_check.fingerprint(network, parts.loss, batch))
    shapes = Weights(*jax.eval_shape(network.init, jax.random.key(0)))
    mesh = feed.nearest_mesh(config.mesh.model if divided else 1)
    with told_of(f"mesh.rule is {config.mesh.rule!r}; "):
        params = shardings.of_params(mesh, own.functions.get("mesh.rule"), shapes.params)
    like = Weights(
        shardings.with_shardings(shapes.params, params),
        shardings.with_shardings(shapes.model_state, NamedSharding(mesh, PartitionSpec())),
    )
    chosen, step = stored_weights.read(workdir / "checkpoints", weights, like)
    return FinishedRun(config, data, network, parts.loss, chosen, step)


def config_of(workdir: Path) -> tuple[configuration.Config, Sources]:
    """The config of a run directory, and what of it is a person's own.

    Args:
        workdir: the run directory.

    Returns:
        A valid config, and the functions and data that the run was made with.

    Raises:
        UserError: there is none that can be used.
    """
    fields = run_directory.read_config(workdir)
    try:
        config = configuration.unflatten(fields)
        config_checks.validate(config)
        own = sources.kept(workdir, config)
        configured.check(config, own.functions)
    except UserError as error:
        if str(error).startswith("--workdir"):
            raise
        raise UserError(f"--workdir {workdir} cannot be used: in its {run_directory.CONFIG}, {error}") from error
    return config, own
