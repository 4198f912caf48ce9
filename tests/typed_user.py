"""A program of a user, for type checkers: it is not run. mypy checks it; pyright in strict mode takes it, too."""

import jax
import jax.numpy as jnp
import optax

import tricks
from tricks import early_stopping, plateau, transforms
from tricks.schedules import warmup_decay


def schedules_as_those_of_optax() -> list[optax.Schedule]:
    ours = warmup_decay(0.1, 10, jnp.int32(100))
    return [ours, optax.join_schedules([ours, optax.constant_schedule(0.1)], [5])]


def rate() -> jax.Array:
    return warmup_decay(0.1, 10, 100)(3)


def optimizers() -> list[optax.GradientTransformation]:
    schedule = warmup_decay(0.1, 10, 100)
    ours = optax.chain(transforms.add_l2_decay(schedule), tricks.transforms.adam(schedule))
    theirs = transforms.adam(optax.cosine_decay_schedule(0.1, 100))
    return [optax.sgd(schedule), theirs, transforms.escape_saddle(ours, window=5)]


def stopping() -> list[jax.Array]:
    state, first = early_stopping.update(early_stopping.init(), 1.0, 3)
    state, second = early_stopping.update(state, jnp.float32(1), jnp.int32(3), 0.1)
    return [first, second, early_stopping.should_stop(state, 3)]


def stuck() -> jax.Array:
    return plateau.update(plateau.init(), 1.0, window=5)[1]
