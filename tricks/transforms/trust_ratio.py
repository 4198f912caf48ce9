"""LAMB: each layer moves by a share of its own size, so that very large batches can be trained with large rates."""

import math

import jax
import jax.numpy as jnp
import optax

from tricks.transforms.adam import scale_by_adam
from tricks.transforms.arguments import require, require_not_negative, require_params
from tricks.transforms.decay import add_l2_decay
from tricks.transforms.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from tricks.transforms.masks import Mask, marked, require_mask, weights_only
from tricks.transforms.precision import widened


def scale_by_trust_ratio(
    mask: Mask = weights_only, min_norm: float = 0.0, max_norm: float = math.inf
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
        A transformation without state whose `update` needs `params`.

    Raises:
        ValueError: for a negative bound, or bounds in the wrong order; from `init` and `update` for a mask that does
            not match the parameters; from `update` when `params` is None.

    >>> tx = scale_by_trust_ratio(mask=None)
    >>> params = jnp.array([3.0, 4.0])
    >>> tx.update(jnp.array([0.0, 0.5]), tx.init(params), params)[0].tolist()
    [0.0, 5.0]

    Source: You et al., arXiv 1904.00962.
    """
    require_not_negative("min_norm", min_norm)
    require("max_norm", max_norm, "a number, min_norm or more; math.inf for no bound", lambda x: x >= 0)
    if not any(isinstance(norm, jax.core.Tracer) for norm in (min_norm, max_norm)) and min_norm > max_norm:
        raise ValueError(f"min_norm is {min_norm}, with max_norm {max_norm}; allowed: min_norm <= max_norm")
    require_mask(mask)

    def init_fn(params: optax.Params) -> optax.EmptyState:
        marked(mask, params)
        return optax.EmptyState()

    def update_fn(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        require_params(params, updates)
        earlier_norm = jnp.zeros([])

        def scale(u: jax.Array, w: jax.Array, chosen: bool) -> jax.Array:
            nonlocal earlier_norm
            if not chosen:
                return u
            # One leaf after the other: a norm is never negative, but the compiler does not know that, so u waits for
            # the leaf before, and the memory of that one's u is used again. The barrier has u written out once;
            # without it XLA's CPU backend fuses the norm with u and writes out every scalar in u as an array instead.
            u = jax.lax.optimization_barrier(jnp.where(earlier_norm < 0, 0, u))
            norm, size = _norm(u), jnp.clip(_norm(w), min_norm, max_norm)
            earlier_norm = norm
            return (jnp.where((norm == 0) | (size == 0), 1, size / norm) * widened(u)).astype(u.dtype)

        return jax.tree.map(scale, updates, params, marked(mask, params)), state

    return optax.GradientTransformation(init_fn, update_fn)


def _norm(x: jax.Array) -> jax.Array:
    # Rows first: XLA's CPU backend spreads sums of rows over the cores, and a sum of everything not.
    square = widened(x) ** 2
    if x.ndim > 1:
        square = jax.lax.optimization_barrier(jnp.sum(square, axis=-1))
    return jnp.sqrt(jnp.sum(square))


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = weights_only,
    *,
    trust_mask: Mask = weights_only,
    min_norm: float = 0.0,
    max_norm: float = math.inf,
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

    Returns:
        An optax transformation whose `update` needs `params`.

    Raises:
        ValueError: for a negative rate, strength or bound, a decay outside [0, 1), or an eps that is not above 0;
            from `init` and `update` for a mask that does not match the parameters; from `update` when `params` is
            None.

    >>> tx = lamb(0.1)
    >>> params = {"kernel": jnp.array([[3.0, 4.0]])}
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> round(float(jnp.linalg.norm(updates["kernel"])), 4)
    0.5

    Source: the lectures on batch size; You et al., arXiv 1904.00962.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps),
        add_l2_decay(weight_decay, mask),
        scale_by_trust_ratio(trust_mask, min_norm, max_norm),
        scale_by_learning_rate(learning_rate),
    )
