"""Perturbed gradient descent: the baseline of leaving a plateau."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks import plateau
from tricks.arguments import require_params, require_positive, require_transformation
from tricks.branches import when
from tricks.curvature import trees
from tricks.transforms.plateau_trigger import later, require_value, require_window


class PerturbationState(NamedTuple):
    """Of `perturb_on_plateau`. Counts are int32."""

    inner_state: Any
    plateau: plateau.PlateauState
    steps: jax.Array
    next_check: jax.Array
    triggers: jax.Array
    perturbations: jax.Array


def perturb_on_plateau(
    inner: optax.GradientTransformation,
    radius: float,
    *,
    window: int = 100,
    min_improvement: float = 0.01,
    cooldown: int | None = None,
    seed: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Perturbed gradient descent: where the loss stands still, a random step on top of the one of `inner`.

    The simplest way off a saddle, to compare `escape_saddle` with: it needs no second derivatives and the right radius.

        tx.update(gradient, state, params, value=loss)

    Args:
        inner: any optax transformation.
        radius: the step is drawn evenly from the ball of this radius, in units of the parameters.
        window: as for `escape_saddle`, and so the others.
        min_improvement: likewise.
        cooldown: steps after a perturbation before the next; None is `window`.
        seed: of the random steps.

    Returns:
        A transformation whose state is a `PerturbationState`. `update` needs `params` and `value`.

    Raises:
        ValueError: for arguments out of range; on `update`, when `params` or `value` are missing, or parameters are not
            floating-point.

    >>> tx = perturb_on_plateau(optax.sgd(0.1), radius=0.1, window=1)
    >>> state = tx.init(jnp.zeros(2))
    >>> update = jax.jit(tx.update)
    >>> for _ in range(2):
    ...     updates, state = update(jnp.zeros(2), state, jnp.zeros(2), value=1.0)
    >>> int(state.perturbations), bool(0 < jnp.linalg.norm(updates) < 0.1)
    (1, True)

    Source: Jin et al., arXiv 1703.00887.
    """
    require_transformation("inner", inner)
    inner = optax.with_extra_args_support(inner)
    pause = window if cooldown is None else cooldown
    require_window(window, min_improvement, pause)
    require_positive("radius", radius)

    def init_fn(params: optax.Params) -> PerturbationState:
        return PerturbationState(inner.init(params), plateau.init(), *(jnp.int32(0) for _ in range(4)))

    def update_fn(
        updates: optax.Updates,
        state: PerturbationState,
        params: optax.Params | None = None,
        *,
        value: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, PerturbationState]:
        require_params(params, updates)
        require_value(value)
        trees.require_floating("params", params)
        updates, inner_state = inner.update(updates, state.inner_state, params, value=value, **extra_args)
        watched, on_plateau = plateau.update(state.plateau, jax.lax.stop_gradient(value), window, min_improvement)
        steps = optax.safe_increment(state.steps)
        perturbs = on_plateau & (steps >= state.next_check)

        def perturbed(updates: Any) -> Any:
            key = jax.random.fold_in(jax.random.key(seed), state.perturbations)
            step = _in_ball(key, params, radius)
            return jax.tree.map(lambda u, s: u + s.astype(u.dtype), updates, step)

        updates = when(perturbs, perturbed, lambda updates: updates, updates)
        return updates, PerturbationState(
            inner_state,
            watched,
            steps,
            jnp.where(perturbs, later(steps, pause), state.next_check),
            state.triggers + on_plateau,
            state.perturbations + perturbs,
        )

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _in_ball(key: jax.Array, like: Any, radius: float) -> Any:
    direction_key, length_key = jax.random.split(key)
    direction = trees.random_normal(direction_key, like)
    length = radius * jax.random.uniform(length_key) ** (1 / trees.size(like))
    return trees.scale(length / trees.norm(direction), direction)
