"""How large a step of an optimizer may be beside the curvature, before it climbs."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tricks.masks import WEIGHTS_ONLY, marked
from tricks.training import assembly
from tricks.training.assembly import Hyper, Static
from tricks.training.state import TrainState
from tricks.transforms.adam import AdamState, one_minus_power
from tricks.transforms.adaptive import SquaredGradientState


class Descent(NamedTuple):
    """An optimizer as w <- w - eta P^-1 (averages of g) with a diagonal P.

    On a quadratic loss with the Hessian H it is stable where eta times the largest eigenvalue of P^-1 H is below the
    limit.
    """

    learning_rate: float
    """eta of the last update."""
    peak_learning_rate: float
    """Of the schedule."""
    limit: float
    scale: Any = None
    """P^-1/2, a pytree like the parameters; None for ones."""


def descent_of(static: Static, hyper: Hyper, state: TrainState) -> Descent | None:
    """The optimizer of a run as it is at a step.

    Args:
        static: what is fixed.
        hyper: the numbers.
        state: of the run.

    Returns:
        `Descent`; None where an optimizer that divides by averages has none yet.
    """
    numbers: dict[str, Any] = {**dict(static.optimizer_options), **hyper.optimizer}
    limit = stability_limit(static.optimizer, numbers)
    rates = float(assembly.learning_rate(state)), float(numbers["learning_rate"])
    if static.optimizer == "momentum":
        return Descent(*rates, limit)
    if int(state.step) == 0:
        return None
    return Descent(*rates, limit, jax.jit(functools.partial(_scale, static.optimizer, numbers))(state))


def stability_limit(optimizer: str, numbers: Mapping[str, Any]) -> float:
    """The largest eta lambda that is stable, lambda an eigenvalue of P^-1 H.

    2 of gradient descent, root mean square and RMSProp; 2 (1 + beta) of momentum m <- beta m - eta g, w <- w + m;
    2 (1 + beta) / (1 + 2 beta) of its Nesterov form; 2 (1 + beta) / (1 - beta) where the average is
    m <- beta m + (1 - beta) g, as in Adam, AdamW and LAMB.

    Args:
        optimizer: the family's name.
        numbers: of it, `momentum` and `nesterov` among them where it has them.

    Returns:
        A number.

    >>> round(stability_limit("momentum", {"momentum": 0.9}), 4), round(stability_limit("adam", {"momentum": 0.9}), 4)
    (3.8, 38.0)

    Source: Cohen et al., arXiv 2103.00065 and 2207.14484.
    """
    beta = float(numbers.get("momentum", 0.0))
    if optimizer == "momentum":
        return 2 * (1 + beta) / ((1 + 2 * beta) if numbers.get("nesterov") else 1)
    return 2 * (1 + beta) / (1 - beta) if optimizer in ("adam", "adamw", "lamb") else 2.0


def _scale(optimizer: str, numbers: Mapping[str, Any], state: TrainState) -> Any:
    eps = float(numbers.get("epsilon", 1e-8))
    if optimizer in ("rmsprop", "root_mean_square"):
        squares = _only(state.opt_state, SquaredGradientState).sigma_squared
        return jax.tree.map(lambda square: 1 / jnp.sqrt(jnp.sqrt(square) + eps), squares)
    b1, b2 = float(numbers["momentum"]), float(numbers["second_moment_decay"])
    averages = _only(state.opt_state, AdamState)
    seen, seen_squares = one_minus_power(b1, averages.count), one_minus_power(b2, averages.count)
    sigma = jax.tree.map(lambda v: jnp.sqrt(v / seen_squares) + eps, averages.v)
    if optimizer != "lamb":
        return jax.tree.map(lambda s: 1 / jnp.sqrt(seen * s), sigma)

    def of_layer(m: jax.Array, s: jax.Array, w: jax.Array, is_weight: bool) -> jax.Array:
        # Each layer moves by a share of its size, whatever its gradient is.
        update = m / seen / s + (float(numbers["weight_decay"]) * w if is_weight else 0)
        size, length = jnp.linalg.norm(w), jnp.linalg.norm(update)
        ratio = jnp.where((size > 0) & (length > 0), size / length, 1.0) if is_weight else jnp.ones([])
        return jnp.sqrt(ratio / (seen * s))

    return jax.tree.map(of_layer, averages.m, sigma, state.params, marked(WEIGHTS_ONLY, state.params))


def _only(opt_state: Any, kind: type) -> Any:
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    (found,) = (node for node in nodes if isinstance(node, kind))
    return found
