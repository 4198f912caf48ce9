"""A program of a user, for type checkers: it is not run. mypy checks it; pyright in strict mode takes it, too."""

import jax
import jax.numpy as jnp
import optax

import tricks
from tricks import early_stopping, plateau, transforms
from tricks.schedules import warmup_decay


def program() -> None:
    schedule = warmup_decay(0.1, 10, jnp.int32(100))
    of_optax: optax.Schedule = schedule
    joined = optax.join_schedules([schedule, optax.constant_schedule(0.1)], [5])
    rate: jax.Array = schedule(3)
    sgd = optax.sgd(warmup_decay(0.1, 10, 100))
    ours = transforms.adam(optax.cosine_decay_schedule(0.1, 100))
    tx = optax.chain(transforms.add_l2_decay(schedule), tricks.transforms.adam(schedule))
    wrapped = transforms.escape_saddle(tx, window=5)
    state, improved = early_stopping.update(early_stopping.init(), 1.0, 3)
    state, improved = early_stopping.update(state, jnp.float32(1), jnp.int32(3), 0.1)
    stop: jax.Array = early_stopping.should_stop(state, 3)
    stuck, on_plateau = plateau.update(plateau.init(), 1.0, window=5)
