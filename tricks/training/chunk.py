"""Many training steps in one dispatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from tricks.losses import Batch
from tricks.training import assembly
from tricks.training.assembly import Hyper, Static, StepMetrics
from tricks.training.state import TrainState
from tricks.transforms import escape_watch
from tricks.transforms.escape_watch import Trigger, Watch


class ChunkMetrics(NamedTuple):
    """Of a chunk of steps."""

    steps: StepMetrics
    """(steps,) each, 0 for steps that were not taken; the gradient norm is that of the last step alone."""
    learning_rate: jax.Array
    """Of the last step."""
    finite: jax.Array
    """Whether all weights are finite after the last step."""


def rows_of(examples: Any, rows: jax.Array) -> Any:
    """The examples of a batch.

    Args:
        examples: pytree of arrays (n, ...), or (steps, batch, ...).
        rows: (batch,) of them; or a step.

    Returns:
        Pytree of arrays (batch, ...).
    """
    return jax.tree.map(lambda a: a[rows], examples)


def run(
    static: Static,
    hyper: Hyper,
    state: TrainState,
    examples: Any,
    indices: jax.Array,
    first: int | jax.Array = 0,
    last: int | jax.Array | None = None,
    *,
    gather: Callable[[Any, jax.Array], Batch] = rows_of,
) -> tuple[TrainState, ChunkMetrics]:
    """Takes one step after another, each on a batch that is gathered from examples on the device.

    Args:
        static: what is fixed.
        hyper: the numbers.
        state: before the first of the steps.
        examples: a `Batch` of arrays (n, ...) on the device, or (steps, batch, ...), or what else `gather` takes.
        indices: (steps, batch) rows of the examples; or (steps,), of steps.
        first: step of the chunk to begin with; a number, or traced: then one program serves for every part of a chunk.
        last: step of the chunk before which to end; None for all.
        gather: `gather(examples, rows) -> Batch`.

    Returns:
        The state after the last of the steps, and what was measured.
    """
    sharding = NamedSharding(static.mesh, PartitionSpec("data"))
    last = len(indices) if last is None else last
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(state.params))
    none = jnp.zeros(len(indices), dtype)

    def body(i: Any, carry: tuple[TrainState, StepMetrics]) -> tuple[TrainState, StepMetrics]:
        state, kept = carry
        batch = gather(examples, indices[i])
        if static.mesh.size > 1:
            batch = jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, sharding), batch)
        state, metrics = assembly.step(static, hyper, state, batch, i == last - 1)
        return state, jax.tree.map(lambda rows, one: rows.at[i].set(one.astype(dtype)), kept, metrics)

    # Written into rows, and not stacked by a scan: so a part of a chunk is the same program as the whole.
    kept = StepMetrics(dict.fromkeys(static.loss.names, none), none)
    state, steps = jax.lax.fori_loop(first, last, body, (state, kept))
    leaves = jax.tree.leaves((state.params, state.model_state))
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
    return state, ChunkMetrics(steps, assembly.learning_rate(state), finite)


def watch(trigger: Trigger, state: Watch, losses: jax.Array, first: jax.Array, last: jax.Array) -> Watch:
    """Takes the losses of a part of a chunk into account.

    Args:
        trigger: when a check is wanted.
        state: before.
        losses: (steps,) of the chunk.
        first: step that the part begins with.
        last: step that it ends before.

    Returns:
        The state after; a check may be `due`.
    """
    return jax.lax.fori_loop(first, last, lambda i, state: escape_watch.watch(state, losses[i], trigger), state)
