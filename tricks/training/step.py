"""One training step, and many of them in one dispatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from tricks.curvature import Escape
from tricks.losses import Batch
from tricks.training.state import TrainState, Weights
from tricks.transforms import current_learning_rate, event


class StepMetrics(NamedTuple):
    """Of one step, or stacked (steps,) of a chunk; measured before the update."""

    loss: jax.Array
    accuracy: jax.Array
    gradient_norm: jax.Array
    escape: Escape | None = None
    """What the check of this step came to, where saddle escape is on."""


class ChunkMetrics(NamedTuple):
    """Of a chunk of steps."""

    steps: StepMetrics
    """(steps,) each; the gradient norm is that of the last step, 0 elsewhere."""
    learning_rate: jax.Array
    """Of the last step."""
    finite: jax.Array
    """Whether all weights are finite after the last step."""


TrainStep = Callable[..., tuple[TrainState, StepMetrics]]


def make_train_step(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    value_fns: Callable[[Any, Any], dict[str, Any]] | None = None,
) -> TrainStep:
    """Makes `step(state, batch, measure=True, samples=None) -> (state, metrics)`.

    A step's result depends on the state and the batch alone: its randomness is fold_in(state.rng, state.step).

    Args:
        loss_fn: as `tricks.losses.mean_loss` makes it.
        tx: the optimizer.
        value_fns: as `tricks.training.saddle.make_value_fns` makes it, where the optimizer is `escape_saddle`. It is
            called with the model's state and `samples`; a step without samples leaves a check due.

    Returns:
        A pure function. The gradient norm is computed where `measure` holds, and 0 elsewhere: reading the whole
        gradient once more costs a tenth of a small step.

    >>> from tricks.training import state
    >>> tx = optax.sgd(0.5)
    >>> loss_fn = lambda params, model_state, batch, rng: (jnp.sum(params**2), (model_state, jnp.float32(0)))
    >>> new, metrics = make_train_step(loss_fn, tx)(state.create(jnp.ones(1), {}, tx, jax.random.key(0)), None)
    >>> new.params.tolist(), float(metrics.gradient_norm)
    ([0.0], 2.0)
    """

    # A transformation that takes no extra arguments would refuse them.
    tx = optax.with_extra_args_support(tx)

    def step(
        state: TrainState, batch: Any, measure: bool | jax.Array = True, samples: Any = None
    ) -> tuple[TrainState, StepMetrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        (loss, (model_state, accuracy)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.model_state, batch, rng
        )
        extra: dict[str, Any] = {}
        if value_fns is not None:
            extra = {"value": loss} | ({"check": False} if samples is None else value_fns(model_state, samples))
        updates, opt_state = tx.update(gradient, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        norm = jax.lax.cond(measure, optax.tree.norm, lambda _: jnp.zeros([], loss.dtype), gradient)
        new = TrainState(state.step + 1, params, model_state, opt_state, state.rng)
        return new, StepMetrics(loss, accuracy, norm, None if samples is None else event(opt_state))

    return step


def make_train_chunk(step: TrainStep, sharding: NamedSharding) -> Callable[..., tuple[TrainState, ChunkMetrics]]:
    """Compiles many steps into one dispatch: a scan that gathers each batch from examples on the device.

    Args:
        step: as `make_train_step` makes it.
        sharding: of a batch's first dimension over the devices.

    Returns:
        `chunk(state, examples, indices, samples=None) -> (state, metrics)`, jitted, `state` donated; examples a `Batch`
        of arrays (n, ...), indices (steps, batch) into them, samples what the step takes.
    """
    replicated = NamedSharding(sharding.mesh, PartitionSpec())

    def chunk(
        state: TrainState, examples: Batch, indices: jax.Array, samples: Any = None
    ) -> tuple[TrainState, ChunkMetrics]:
        def body(state: TrainState, x: tuple[jax.Array, jax.Array]) -> tuple[TrainState, StepMetrics]:
            chosen, measure = x
            batch = jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a[chosen], sharding), examples)
            return step(state, batch, measure, samples)

        last = jnp.arange(len(indices)) == len(indices) - 1
        state, metrics = jax.lax.scan(body, state, (indices, last))
        leaves = jax.tree.leaves((state.params, state.model_state))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        return state, ChunkMetrics(metrics, current_learning_rate(state.opt_state), finite)

    return jax.jit(chunk, donate_argnums=0, out_shardings=replicated)


def copy_weights(state: TrainState) -> Weights:
    """The weights in buffers of their own, which the next step's donation leaves alone.

    >>> from tricks.training import state
    >>> copy_weights(state.create(jnp.ones(1), {}, optax.sgd(0.1), jax.random.key(0))).params.tolist()
    [1.0]
    """
    return jax.tree.map(jnp.copy, Weights(state.params, state.model_state))
