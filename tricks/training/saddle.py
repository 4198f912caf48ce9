"""Saddle escape while a run goes on: the losses are watched, and a check is one program between two steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tricks import losses, streams
from tricks.curvature import Escape
from tricks.curvature.attempt import Options, most_evaluations
from tricks.data import Split, draw
from tricks.errors import UserError
from tricks.losses import Batch
from tricks.training import assembly, shardings
from tricks.training.assembly import EscapePlan, Hyper, Static
from tricks.training.chunk import ChunkMetrics
from tricks.training.feed import Chunk
from tricks.training.loop import Check
from tricks.training.placement import put
from tricks.training.programs import run_once
from tricks.training.state import LoopState, TrainState
from tricks.transforms import escape_check
from tricks.transforms.escape_watch import Trigger, Watch
from tricks.transforms.restart import restarted_after

RunPart = Callable[[TrainState, Chunk, int, int], tuple[TrainState, ChunkMetrics]]


class Samples(NamedTuple):
    """Of the training part, on the device."""

    checked: Batch
    """Where curvature is looked for."""
    held_out: Batch
    """Where it must be confirmed."""


def sample(split: Split, mesh: Mesh, *, examples: int, seed: int) -> Samples:
    """Draws two disjoint samples, always the same ones for a seed.

    Args:
        split: the training part.
        mesh: the devices; each sample is divided among them.
        examples: in each, as `count_examples` gives it.
        seed: of the draw.

    Returns:
        `Samples`.
    """
    by_example = NamedSharding(mesh, PartitionSpec("data"))
    parts = draw(split, (examples, examples), streams.sample(seed, "escape"))
    return Samples(*(put(Batch(*part), by_example) for part in parts))


def count_examples(total: int, devices: int, examples: int) -> int:
    """Examples in each of the two samples: a half of all at most, rounded down to a multiple of the devices.

    Args:
        total: examples of the training part.
        devices: that each sample is divided among.
        examples: that were asked for.

    Returns:
        Examples in each.

    Raises:
        UserError: there are fewer than one for each device.

    >>> count_examples(100, 8, 1000)
    48
    """
    count = min(examples, total // 2) // devices * devices
    if count == 0:
        raise UserError(
            f"escape.examples is {examples}; each of two samples needs one for each of {devices} devices, and the "
            f"training part has {total} examples: choose more, or escape.enabled=false"
        )
    return count


def make_plan(
    *, min_decrease: float, basis_size: int, noise: bool, batch_statistics: bool, examples: int, **trigger: Any
) -> EscapePlan:
    """What saddle escape is compiled for.

    Args:
        min_decrease: as for `tricks.curvature.escape`.
        basis_size: likewise.
        noise: likewise.
        batch_statistics: normalize with those of the sample; otherwise with the running ones. Dropout is off.
        examples: in each sample.
        trigger: fields of `Trigger`.

    Returns:
        The plan.
    """
    options = Options(min_decrease, basis_size, noise)
    return EscapePlan(Trigger(most_evaluations(options), **trigger), options, batch_statistics, examples)


def check(static: Static, hyper: Hyper, loop: LoopState, samples: Samples, seed: jax.Array) -> tuple[LoopState, Escape]:
    """Looks for a way out at the present weights and takes it where both losses fall.

    Args:
        static: what is fixed, with its plan of escapes.
        hyper: the numbers.
        loop: the state.
        samples: to look at, and to confirm on.
        seed: of the run.

    Returns:
        The state with the weights moved and the optimizer's averages begun anew, or as it was; and the evidence.
    """
    plan, state = static.escape, loop.train
    assert plan is not None
    # Traced once for both samples.
    loss = jax.jit(
        losses.objective(
            assembly.make_network(static).apply, static.loss, state.model_state, batch_statistics=plan.batch_statistics
        )
    )
    step, moved, watched, found = escape_check.check(
        state.params,
        loop.escape,
        value_fn=lambda params: loss(params, samples.checked),
        held_out_value_fn=lambda params: loss(params, samples.held_out),
        trigger=plan.trigger,
        options=plan.options,
        seed=jax.random.bits(streams.vectors(seed, "escape"), (), jnp.uint32),
        division=shardings.division(static, state.params),
    )
    new = optax.apply_updates(state.params, step)
    opt_state = restarted_after(assembly.make_optimizer(static, hyper), new, state.opt_state, moved)
    # Zero added to minus zero would not give the bits back.
    params = jax.tree.map(lambda after, before: jnp.where(moved, after, before), new, state.params)
    train = TrainState(state.step, params, state.model_state, opt_state, state.rng)
    return loop._replace(train=train, escape=watched), found


def compiled_check(static: Static, loop: LoopState) -> Any:
    """`check(hyper, loop, samples, seed)` of a run under `jax.jit`, compiled at its first call.

    Args:
        static: what is fixed.
        loop: shapes of the state.

    Returns:
        The function.
    """
    leaves, structure = jax.tree.flatten(shardings.of_loop(static, loop))
    return _compiled_check(static, structure, tuple(leaves))


@functools.lru_cache(maxsize=8)
def _compiled_check(static: Static, structure: Any, leaves: tuple[NamedSharding, ...]) -> Any:
    replicated = NamedSharding(static.mesh, PartitionSpec())
    placed = replicated if len(leaves) == 1 else (jax.tree.unflatten(structure, leaves), replicated)
    return jax.jit(functools.partial(check, static), out_shardings=placed, compiler_options=run_once(static.mesh))


def in_parts(
    run_part: RunPart,
    watch: Callable[[Watch, jax.Array, np.int32, np.int32], Watch],
    check: Callable[[LoopState], tuple[LoopState, Escape]],
    window: int,
) -> Callable[[LoopState, Chunk], tuple[LoopState, ChunkMetrics, list[Check]]]:
    """Makes `run_chunk` that checks where a window ends, wherever in a chunk that is.

    Args:
        run_part: `run_part(state, chunk, first, last) -> (state, metrics)`.
        watch: `watch(state, losses, first, last) -> state`.
        check: `check(loop) -> (loop, evidence)`.
        window: losses in a window.

    Returns:
        `run_chunk(loop, chunk) -> (loop, metrics, checks)`.
    """

    def run_chunk(loop: LoopState, chunk: Chunk) -> tuple[LoopState, ChunkMetrics, list[Check]]:
        parts, checks, first = [], [], 0
        while first < len(chunk.indices):
            last = min(len(chunk.indices), first + window - int(loop.escape.plateau.values))
            train, metrics = run_part(loop.train, chunk, first, last)
            watched = watch(loop.escape, metrics.steps.measures["loss"], np.int32(first), np.int32(last))
            loop = loop._replace(train=train, escape=watched)
            parts.append(jax.device_get(metrics))
            if watched.due:
                loop, found = check(loop)
                checks.append(Check(last, _values(jax.device_get(found))))
            first = last
        # What a part has not done is zero in it.
        steps = jax.tree.map(lambda *rows: sum(rows), *(part.steps for part in parts))
        return loop, parts[-1]._replace(steps=steps), checks

    return run_chunk


def _values(found: Escape) -> dict[str, float | int | str]:
    return {
        "loss": float(found.loss_before),
        "outcome": found.reason,
        "smallest_eigenvalue": float(found.eigenvalue),
        "held_out_curvature": float(found.held_out_curvature),
        "loss_after": float(found.loss_after),
        "distance": float(found.distance),
        "products": int(found.products),
    }
