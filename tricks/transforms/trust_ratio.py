"""LAMB: each layer moves by a share of its own size, so that very large batches can be trained with large rates."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require, require_not_negative, require_params, require_rate
from tricks.masks import WEIGHTS_ONLY, Mask, marked, require_mask, warn_of_idle
from tricks.transforms.adam import AdamState, direction, next_averages, one_minus_power, scale_by_adam
from tricks.transforms.decay import DecayState, warn_of_idle_decay
from tricks.transforms.learning_rate import ScalarOrSchedule, scale_by_learning_rate, value_at
from tricks.transforms.leaves import map_updates, rounded, squared, times, widened


class LambState(NamedTuple):
    """What LAMB keeps."""

    adam: AdamState
    decay: DecayState
    """Counts on where the averages start anew."""


def scale_by_trust_ratio(
    mask: Mask = WEIGHTS_ONLY, min_norm: float = 0.0, max_norm: float = math.inf
) -> optax.GradientTransformation:
    """Gives the update of each leaf the size of the leaf itself.

    u <- u phi(|w|) / |u| with phi(z) = min(max(z, min_norm), max_norm) and the Euclidean norms of whole leaves; where
    phi(|w|) or |u| is 0 the update stays as it is.

    Args:
        mask: which leaves are scaled: a pytree of booleans (or a prefix of one), a function from the parameters to
            one, or None for all; the others pass unchanged.
        min_norm: lower bound of phi, 0 or more.
        max_norm: upper bound of phi.

    Returns:
        A transformation without state whose `update` needs `params`; updates have the structure, shapes and types of
        its input.

    Raises:
        ValueError: for a negative bound, or bounds in the wrong order; from `init` and `update` for a mask that does
            not match the parameters; from `update` when `params` is None.

    >>> tx = scale_by_trust_ratio(mask=None)
    >>> params = jnp.array([3.0, 4.0])
    >>> tx.update(jnp.array([0.0, 0.5]), tx.init(params), params)[0].tolist()
    [0.0, 5.0]

    Source: You et al., arXiv 1904.00962.
    """
    _require_bounds(min_norm, max_norm)
    require_mask(mask)

    def init_fn(params: optax.Params) -> optax.EmptyState:
        warn_of_idle("mask", mask, params, "is scaled by its size")
        return optax.EmptyState()

    def update_fn(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        require_params(params, updates)

        def scale(u: jax.Array, w: jax.Array, chosen: bool) -> jax.Array:
            return rounded(times(_ratio(_norm(u), w, min_norm, max_norm), widened(u)), u) if chosen else u

        return map_updates(scale, updates, params, marked(mask, params)), state

    return optax.GradientTransformation(init_fn, update_fn)


def _require_bounds(min_norm: float, max_norm: float) -> None:
    require_not_negative("min_norm", min_norm)
    require("max_norm", max_norm, "a number above 0; math.inf for no bound", lambda x: x > 0)
    if not any(isinstance(norm, jax.core.Tracer) for norm in (min_norm, max_norm)) and min_norm > max_norm:
        raise ValueError(f"min_norm is {min_norm}, with max_norm {max_norm}; allowed: min_norm <= max_norm")


def _norm(x: jax.Array) -> jax.Array:
    # Rows first: XLA's CPU backend spreads sums of rows over the cores, and a sum of everything not.
    square = squared(widened(x))
    if x.ndim > 1:
        square = jax.lax.optimization_barrier(jnp.sum(square, axis=-1))
    total = jnp.sum(square)
    # The root of 0 has no derivative, and one behind a `where` would still be taken.
    return jnp.where(total == 0, 0, jnp.sqrt(jnp.where(total == 0, 1, total)))


def _ratio(norm: jax.Array, w: jax.Array, min_norm: float, max_norm: float) -> jax.Array:
    size = jnp.clip(_norm(w), min_norm, max_norm)
    neither = (norm == 0) | (size == 0)
    return jnp.where(neither, 1, size / jnp.where(neither, 1, norm))


def scale_by_lamb(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = WEIGHTS_ONLY,
    *,
    trust_mask: Mask = WEIGHTS_ONLY,
    min_norm: float = 0.0,
    max_norm: float = math.inf,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """`scale_by_adam`, `add_l2_decay` and `scale_by_trust_ratio` in one, with a fraction of their memory traffic.

    u = m^t / sigma^t + lambda^t w, then u <- (phi(|w|) / |u|) u.

    Args:
        b1: decay of the gradient average, 0 <= b1 < 1.
        b2: decay of the squared-gradient average, 0 <= b2 < 1.
        eps: above 0; added to the root.
        weight_decay: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans (or a prefix of one), a function from the parameters to one, or
            None for all.
        trust_mask: which leaves are scaled, given in the same ways.
        min_norm: lower bound of phi, 0 or more.
        max_norm: upper bound of phi.
        eps_root: 0 or more; added under the root.

    Returns:
        A transformation with a `LambState` whose `update` needs `params`; updates have the structure, shapes and types
        of its input.

    Raises:
        ValueError: as `lamb`.

    >>> tx = scale_by_lamb(trust_mask=None)
    >>> params = jnp.array([3.0, 4.0])
    >>> round(float(jnp.linalg.norm(tx.update(params, tx.init(params), params)[0])), 4)
    5.0

    Source: You et al., arXiv 1904.00962.
    """
    adam = scale_by_adam(b1, b2, eps, eps_root=eps_root)
    require_rate("weight_decay", weight_decay)
    _require_bounds(min_norm, max_norm)
    require_mask(mask)
    require_mask(trust_mask)

    def init_fn(params: optax.Params) -> LambState:
        warn_of_idle_decay(weight_decay, mask, params)
        warn_of_idle("trust_mask", trust_mask, params, "is scaled by its size")
        return LambState(adam.init(params), DecayState(jnp.zeros([], jnp.int32)))

    def update_fn(
        updates: optax.Updates, state: LambState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LambState]:
        require_params(params, updates)
        strength = value_at(weight_decay, state.decay.count)
        averages = next_averages(updates, state.adam, b1, b2)
        m_correction, v_correction = one_minus_power(b1, averages.count), one_minus_power(b2, averages.count)
        earlier_norm = jnp.zeros([])

        def scale(g: jax.Array, m: jax.Array, v: jax.Array, w: jax.Array, decays: bool, scaled: bool) -> jax.Array:
            nonlocal earlier_norm
            # One leaf after the other: a norm is never negative, but the compiler does not know that, so u waits for
            # the norm of the leaf before, and the memory of that one's u serves for this one's. All at once they are
            # a fresh copy of the parameters at every step, whose page faults cost more than the arithmetic.
            waited = jnp.where(earlier_norm < 0, 1, m_correction)
            u = direction(m, v, waited, v_correction, eps, eps_root) + (times(strength, widened(w)) if decays else 0)
            if scaled:
                # The barrier has u written out once; without it XLA's CPU backend fuses the norm with u, and writes
                # out every scalar in u as an array instead.
                u = jax.lax.optimization_barrier(u)
                norm = earlier_norm = _norm(u)
                u = times(_ratio(norm, w, min_norm, max_norm), u)
            return rounded(u, g)

        masks = marked(mask, params), marked(trust_mask, params)
        new = LambState(averages, DecayState(optax.safe_increment(state.decay.count)))
        return map_updates(scale, updates, averages.m, averages.v, params, *masks), new

    return optax.GradientTransformation(init_fn, update_fn)


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = WEIGHTS_ONLY,
    *,
    trust_mask: Mask = WEIGHTS_ONLY,
    min_norm: float = 0.0,
    max_norm: float = math.inf,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """Adam with decay, each leaf's update scaled to the size of the leaf.

    u = m^t / sigma^t + lambda^t w, w <- w - eta^t (phi(|w|) / |u|) u; see `scale_by_adam`, `scale_by_trust_ratio`.

    Args:
        learning_rate: eta, a number or a schedule: the share of its size that a layer moves in a step.
        b1: decay of the gradient average, 0 <= b1 < 1.
        b2: decay of the squared-gradient average, 0 <= b2 < 1.
        eps: above 0; added to the root.
        weight_decay: lambda, a number or a schedule.
        mask: which leaves decay: a pytree of booleans (or a prefix of one), a function from the parameters to one, or
            None for all.
        trust_mask: which leaves are scaled, given in the same ways; the others take Adam's step.
        min_norm: lower bound of phi, 0 or more.
        max_norm: upper bound of phi.
        eps_root: 0 or more; added under the root.

    Returns:
        An optax transformation whose `update` needs `params`; updates have the structure, shapes and types of the
        gradients.

    Raises:
        ValueError: for a negative rate, strength, bound or eps_root, a decay outside [0, 1), or an eps that is not
            above 0; from `init` and `update` for a mask that does not match the parameters; from `update` when
            `params` is None.

    >>> tx = lamb(0.1)
    >>> params = {"kernel": jnp.array([[3.0, 4.0]])}
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> round(float(jnp.linalg.norm(updates["kernel"])), 4)
    0.5

    Source: the lectures on batch size; You et al., arXiv 1904.00962.
    """
    core = scale_by_lamb(
        b1,
        b2,
        eps,
        weight_decay,
        mask,
        trust_mask=trust_mask,
        min_norm=min_norm,
        max_norm=max_norm,
        eps_root=eps_root,
    )
    return optax.chain(core, scale_by_learning_rate(learning_rate))
