"""Steps of a run taken again: the same examples in the same order from the same state, by the run's own programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tricks.config import Config
from tricks.diagnosis import finished_run
from tricks.training import assembly, computation, feed, programs, stored_state
from tricks.training import setup as setups
from tricks.training.assembly import Hyper
from tricks.training.feed import Chunk
from tricks.training.programs import Programs
from tricks.training.setup import Setup
from tricks.training.state import LoopState


class Replay(NamedTuple):
    """What steps are taken again with. A run that escaped saddles had other weights after the first escape."""

    config: Config
    setup: Setup
    hyper: Hyper
    """The numbers as arrays."""
    seed: int

    def chunks(self, first_step: int, last_step: int) -> Iterator[Chunk]:
        """The chunks from one step to another, both at the edges of chunks and the last at that of an epoch."""
        made = self.setup
        return feed.chunks(
            made.data.train,
            made.plan,
            first_step=first_step,
            last_step=last_step,
            seed=self.seed,
            mesh=made.static.mesh,
            on_device=made.on_device,
        )


def of_run(workdir: Path) -> Replay:
    """Reads what is needed of a run directory; nothing in it is locked or changed.

    Args:
        workdir: the run directory.

    Returns:
        What its steps are taken again with.

    Raises:
        UserError: it is no run directory, or its data cannot be loaded.
    """
    config, own = finished_run.config_of(workdir)
    # One device, as most runs had; with more of them sums are rounded in another order.
    mesh = Mesh(jax.devices()[:1], ("data",), axis_types=(AxisType.Auto,))
    made = setups.assembled(config, own, mesh)
    return Replay(config, made, programs.as_numbers(made.hyper), config.seed)


def stored(replay: Replay, workdir: Path) -> LoopState | None:
    """The state of the newest checkpoint.

    Args:
        replay: of the run.
        workdir: the run directory.

    Returns:
        The state; None where there is no checkpoint.

    Raises:
        UserError: there are checkpoints, and none can be read.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir() or not any(path.name.isdigit() for path in directory.iterdir()):
        return None
    static = replay.setup.static
    shapes = jax.eval_shape(lambda: assembly.start(static, replay.hyper, jax.random.key(0)))
    here = NamedSharding(static.mesh, PartitionSpec())
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes)
    return stored_state.read(directory, like)


def own_programs(replay: Replay) -> Programs:
    """The programs of the run that start it and take its chunks, which a cache may hold; those that evaluate left out.

    Args:
        replay: of the run.

    Returns:
        The programs.
    """
    made = replay.setup
    shapes = computation.shapes_of_steps(
        made.static, replay.hyper, made.data.train, made.plan, on_device=made.on_device
    )
    return programs.compiled(made.static, shapes)


def initial(replay: Replay) -> LoopState:
    """The state before the first step.

    Args:
        replay: of the run.

    Returns:
        The state, as the run's own program makes it.
    """
    state: LoopState = own_programs(replay).start(replay.hyper, np.uint32(replay.seed))
    return state
