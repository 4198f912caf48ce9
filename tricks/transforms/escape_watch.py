"""When to look for a way out of a saddle: the watch over the loss and the budget, pure functions on a small state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks import plateau
from tricks.arguments import require, require_positive
from tricks.branches import when
from tricks.transforms.plateau_trigger import LATEST, later, require_window

_PRODUCT, _EVALUATION = 1.2, 1 / 3  # What they cost, in gradients of the same batch.
_FEWEST_PRODUCTS = 10  # A check of fewer finds little.


class Trigger(NamedTuple):
    """When a check is wanted and what it may cost; see `tricks.transforms.escape_saddle`."""

    max_evaluations: int
    """Of losses, in one check: `tricks.curvature.attempt.most_evaluations(options)`."""
    window: int = 100
    min_improvement: float = 0.01
    cooldown: int = 100
    share: float = 0.05
    cost: float = 1.0
    max_products: int = 120


class Watch(NamedTuple):
    """What is known of the run so far; scalars. Counts are int32."""

    plateau: plateau.PlateauState
    steps: jax.Array
    """Losses so far."""
    next_check: jax.Array
    """Steps before which there is none."""
    cooldown: jax.Array
    """Steps between a check that failed and the next."""
    due: jax.Array
    """Whether a check is wanted that is yet to come."""
    triggers: jax.Array
    """Windows on a plateau."""
    work: jax.Array
    """What the checks after the first have cost, in gradients of a training batch."""
    checks: jax.Array
    escapes: jax.Array
    perturbations: jax.Array
    rejections: jax.Array
    products: jax.Array
    """Hessian-vector products of all checks."""


def require_trigger(trigger: Trigger) -> None:
    """Refuses a trigger that is out of range; the products are checked with the options of a check.

    Args:
        trigger: of plain numbers.

    Raises:
        ValueError: with the name, the value, and what is allowed.

    >>> require_trigger(Trigger(62, share=2.0))
    Traceback (most recent call last):
    ...
    ValueError: share is 2.0; allowed: 0 <= share <= 1
    """
    require_window(trigger.window, trigger.min_improvement, trigger.cooldown)
    require("share", trigger.share, "0 <= share <= 1", lambda x: 0 <= x <= 1)
    require_positive("cost", trigger.cost)


def init_watch(trigger: Trigger) -> Watch:
    """The state before the first loss.

    Args:
        trigger: whose cooldown is the first.

    Returns:
        A state with an array of its own for each field, so that all can be donated.

    >>> int(init_watch(Trigger(62)).cooldown)
    100
    """
    return Watch(
        plateau=plateau.init(),
        steps=jnp.int32(0),
        next_check=jnp.int32(0),
        cooldown=jnp.int32(trigger.cooldown),
        due=jnp.bool_(False),
        triggers=jnp.int32(0),
        work=jnp.float32(0),
        checks=jnp.int32(0),
        escapes=jnp.int32(0),
        perturbations=jnp.int32(0),
        rejections=jnp.int32(0),
        products=jnp.int32(0),
    )


def watch(state: Watch, value: Any, trigger: Trigger) -> Watch:
    """Takes the loss of one more step into account.

    At the end of a window on a plateau a check becomes due, unless it is too soon after the last one or too dear.

    Args:
        state: the state so far.
        value: a scalar.
        trigger: as of `init_watch`.

    Returns:
        The new state; `due` stays until `after_check`.

    >>> trigger = Trigger(62, window=2)
    >>> state = init_watch(trigger)
    >>> for value in (3.0, 2.0, 2.5, 2.5):
    ...     state = watch(state, value, trigger)
    >>> bool(state.due), int(state.triggers), int(state.steps)
    (True, 1, 4)

    Source: the lectures on a training that is stuck.
    """
    counted = plateau.count(state.plateau, jax.lax.stop_gradient(value))
    state = state._replace(steps=optax.safe_increment(state.steps))

    def after_window() -> tuple[Any, jax.Array, jax.Array]:
        new, on_plateau = plateau.close_window(counted, trigger.min_improvement)
        may_check = (state.steps >= state.next_check) & (affordable_products(state, trigger) >= _FEWEST_PRODUCTS)
        return new, state.due | (on_plateau & may_check), state.triggers + on_plateau

    # Between the ends of windows this is three numbers: each is a kernel of its own, to compile and to start.
    new, due, triggers = when(
        counted.values >= trigger.window, after_window, lambda: (counted, state.due, state.triggers)
    )
    return state._replace(plateau=new, due=due, triggers=triggers)


def affordable_products(state: Watch, trigger: Trigger) -> jax.Array:
    """Products of which a check that starts now stays within its share, whatever it comes to; the first may take all.

    Args:
        state: the state now.
        trigger: whose share, cost and bounds count.

    Returns:
        int32, from 0 to `max_products`.

    >>> trigger = Trigger(62, share=0.5)
    >>> state = init_watch(trigger)._replace(steps=jnp.int32(100))
    >>> [int(affordable_products(state._replace(checks=jnp.int32(checks)), trigger)) for checks in (0, 1)]
    [120, 21]
    """
    gradients = (trigger.share * state.steps.astype(jnp.float32) - state.work) / trigger.cost
    affordable = jnp.floor((gradients - _work(0, trigger.max_evaluations)) / _PRODUCT)
    allowed = jnp.clip(affordable, 0, trigger.max_products).astype(jnp.int32)
    return jnp.where(state.checks == 0, trigger.max_products, allowed)


def _work(products: Any, evaluations: Any) -> Any:
    """In gradients of the same batch, three for the linearization, the held-out gradient and one beside the point."""
    return 3 + _PRODUCT * products + _EVALUATION * evaluations


def after_check(
    state: Watch, trigger: Trigger, *, escaped: Any, perturbed: Any, products: Any, evaluations: Any
) -> Watch:
    """Takes a check into account: what it cost, and when the next one may come.

    Args:
        state: before the check.
        trigger: as of `init_watch`.
        escaped: whether it took a step along negative curvature.
        perturbed: whether it added noise instead.
        products: how many it took.
        evaluations: of losses, likewise.

    Returns:
        The new state, of which no check is `due`.

    >>> trigger = Trigger(62, cooldown=10)
    >>> state = init_watch(trigger)._replace(steps=jnp.int32(20), due=jnp.bool_(True))
    >>> state = after_check(state, trigger, escaped=False, perturbed=False, products=9, evaluations=2)
    >>> bool(state.due), int(state.next_check), int(state.cooldown), int(state.rejections)
    (False, 30, 20, 1)
    """
    doubled = jnp.where(state.cooldown > LATEST // 2, LATEST, 2 * state.cooldown)
    # Noise may be of no use as a check may be.
    pause, cooldown = (jnp.where(escaped, trigger.cooldown, steps) for steps in (state.cooldown, doubled))
    moved = jnp.logical_or(escaped, perturbed)
    # Of a plateau that was left nothing is known of the next.
    watched = jax.tree.map(lambda new, old: jnp.where(moved, new, old), plateau.init(), state.plateau)
    work = jnp.where(state.checks > 0, trigger.cost * _work(products, evaluations), 0)
    return state._replace(
        plateau=watched,
        next_check=later(state.steps, pause),
        cooldown=cooldown,
        due=jnp.bool_(False),
        work=state.work + work,
        checks=state.checks + 1,
        escapes=state.escapes + escaped,
        perturbations=state.perturbations + perturbed,
        rejections=state.rejections + ~moved,
        products=state.products + products,
    )
