"""Everything that a training step reads and writes, and what the loop keeps beside it."""

import dataclasses
from typing import Any, NamedTuple

import jax

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
    escape: Any = None
    """What saddle escape has seen of the losses, where it is on."""


def weights(state: TrainState) -> Weights:
    """The part of a state that evaluation needs.

    >>> weights(TrainState(0, {"w": 1.0}, {}, (), None)).params
    {'w': 1.0}
    """
    return Weights(state.params, state.model_state)
