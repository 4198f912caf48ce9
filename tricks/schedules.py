"""Learning-rate schedules: plain functions from the step to the rate, for any optax optimizer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tricks.arguments import require, require_choice, require_integer, require_not_negative

__all__ = ["SHAPES", "Numeric", "Schedule", "warmup_decay"]

SHAPES = ("constant", "cosine", "linear", "exponential", "inverse_time", "inverse_sqrt")

Numeric = float | jax.Array
# Of the types that optax's own schedules have, so that they go wherever those go.
Schedule = Callable[[jax.typing.ArrayLike], jax.Array]


def warmup_decay(
    peak_value: Numeric,
    warmup_steps: int | jax.Array,
    total_steps: int | jax.Array,
    end_value: Numeric = 0.0,
    shape: str = "cosine",
) -> Schedule:
    r"""Rises linearly to the peak, then falls.

    Step 0 is the first update, so the rate is never zero at the start. With w warm-up steps, T steps in all,
    progress p = (t - w) / (T - w) clipped to [0, 1], and tau = max(w, 1)::

        t < w           peak (t + 1) / (w + 1)
        constant        peak
        cosine          end + (peak - end) (1 + cos(pi p)) / 2
        linear          peak (1 - p) + end p
        exponential     peak (end / peak)^p
        inverse_time    max(end, peak / (1 + (t - w) / tau))
        inverse_sqrt    max(end, peak / sqrt(1 + (t - w) / tau))

    The rate stays where it is from step T on. Without warm-up `inverse_time` and `inverse_sqrt` are the lectures'
    eta / (t + 1) and eta / sqrt(t + 1).

    Args:
        peak_value: the highest rate, at step `warmup_steps`.
        warmup_steps: steps below the peak before it is reached; 0 for none.
        total_steps: step at which the decay ends; with as many as `warmup_steps` there is none.
        end_value: rate at `total_steps`; for the two inverse shapes the lowest rate; without meaning for `constant`.
        shape: one of `SHAPES`.

    Returns:
        A function from the step (an integer, an array, or traced) to the rate (a float array).

    Raises:
        ValueError: for an unknown shape, a negative value or number of steps, fewer steps in all than of warm-up, an
            end above the peak, or an exponential decay from or to 0.

    >>> schedule = warmup_decay(0.1, warmup_steps=1, total_steps=5, shape="linear")
    >>> [round(float(schedule(t)), 3) for t in range(6)]
    [0.05, 0.1, 0.075, 0.05, 0.025, 0.0]

    Source: the lectures' warm-up and decay; cosine: Loshchilov and Hutter, arXiv 1608.03983; warm-up: Goyal et al.,
    arXiv 1706.02677.
    """
    require_choice("shape", shape, SHAPES)
    require_integer("warmup_steps", warmup_steps, least=0)
    require_integer("total_steps", total_steps, least=0)
    require_not_negative("peak_value", peak_value)
    require_not_negative("end_value", end_value)
    known = [v for v in (warmup_steps, total_steps, peak_value, end_value) if not isinstance(v, jax.core.Tracer)]
    if len(known) == 4 and total_steps < warmup_steps:
        raise ValueError(
            f"total_steps is {total_steps}, with warmup_steps {warmup_steps}; allowed: total_steps >= warmup_steps"
        )
    if len(known) == 4 and shape != "constant" and end_value > peak_value:
        raise ValueError(f"end_value is {end_value}, with peak_value {peak_value}; allowed: end_value <= peak_value")
    if shape == "exponential":
        require("peak_value", peak_value, "above 0 for an exponential decay", lambda x: x > 0)
        require("end_value", end_value, "above 0 for an exponential decay, such as peak_value / 100", lambda x: x > 0)

    decay_steps = total_steps - warmup_steps

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        t = jnp.asarray(step, dtype=jnp.result_type(float))
        since_peak = jnp.clip(t - warmup_steps, 0, decay_steps)
        decayed = _decay(shape, peak_value, end_value, since_peak, warmup_steps, decay_steps)
        return jnp.where(t < warmup_steps, peak_value * (t + 1) / (warmup_steps + 1), decayed)

    return schedule


def _decay(
    shape: str,
    peak: Numeric,
    end: Numeric,
    since_peak: jax.Array,
    warmup_steps: int | jax.Array,
    decay_steps: int | jax.Array,
) -> Numeric:
    progress = since_peak / jnp.maximum(decay_steps, 1)
    slowdown = 1 + since_peak / jnp.maximum(warmup_steps, 1)
    if shape == "cosine":
        return end + (peak - end) * (1 + jnp.cos(jnp.pi * progress)) / 2
    if shape == "linear":
        return peak * (1 - progress) + end * progress
    if shape == "exponential":
        return peak * (end / peak) ** progress
    if shape == "inverse_time":
        return jnp.maximum(end, peak / slowdown)
    if shape == "inverse_sqrt":
        return jnp.maximum(end, peak / jnp.sqrt(slowdown))
    return peak
