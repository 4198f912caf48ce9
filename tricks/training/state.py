"""Everything that a training step reads and writes."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.early_stopping import EarlyStoppingState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A pytree of arrays, with no functions inside."""

    step: jax.Array
    """Updates done so far, int32."""
    params: Any
    model_state: Any
    """Moving averages of batch normalization."""
    opt_state: Any
    rng: jax.Array
    """A random key that never changes; step t draws from fold_in(rng, t)."""


class Weights(NamedTuple):
    """What evaluation needs."""

    params: Any
    model_state: Any


class LoopState(NamedTuple):
    """Everything that a checkpoint holds."""

    train: TrainState
    best: Weights
    """At the best validation so far; the initial ones before the first."""
    stopping: EarlyStoppingState


def create(params: Any, model_state: Any, tx: optax.GradientTransformation, rng: jax.Array) -> TrainState:
    """The state before the first step.

    Args:
        params: of the model.
        model_state: of the model.
        tx: the optimizer.
        rng: a JAX random key.

    Returns:
        A `TrainState` at step 0.

    >>> int(create({"w": jnp.ones(2)}, {}, optax.sgd(0.1), jax.random.key(0)).step)
    0
    """
    return TrainState(jnp.zeros([], jnp.int32), params, model_state, tx.init(params), rng)
