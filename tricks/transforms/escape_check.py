"""A check for a way out of a saddle, as one pure function: the attempt, and what is known after it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from tricks.curvature import trees
from tricks.curvature.attempt import ESCAPED, PERTURBED, Escape, Options, attempt, nothing
from tricks.curvature.division import Division
from tricks.memory import require_memory
from tricks.transforms.escape_watch import Trigger, Watch, affordable_products, after_check

ValueFn = Callable[[Any], jax.Array]


class Checked(NamedTuple):
    """What a check came to."""

    step: Any
    """To be added to the parameters; zeros where `moved` is False."""
    moved: jax.Array
    """Whether there is a step: along negative curvature, or of noise."""
    watch: Watch
    found: Escape


def require_checkable(params: Any, movable: Any, basis_size: int) -> None:
    """Refuses parameters that have no curvature, or for whose basis there is no memory.

    Args:
        params: the point.
        movable: as for `check`.
        basis_size: vectors that a check keeps.

    Raises:
        ValueError: for parameters that are not floating-point, a mask that does not fit, or a basis that is too large.

    >>> import jax.numpy as jnp
    >>> require_checkable({"steps": jnp.int32(3)}, None, 40)
    Traceback (most recent call last):
    ...
    ValueError: params['steps'] is int32; allowed: floating-point arrays (hold others fixed: nnx.split, eqx.partition)
    """
    chosen, _ = trees.split(params, movable)
    trees.require_floating("params", chosen)
    require_memory("basis_size", min(basis_size, trees.size(chosen)), chosen)


def check(
    params: Any,
    state: Watch,
    *,
    value_fn: ValueFn,
    held_out_value_fn: ValueFn | None = None,
    trigger: Trigger,
    options: Options,
    seed: int | jax.Array = 0,
    movable: Any = None,
    types: Any = None,
    division: Division | None = None,
) -> Checked:
    """Looks for a way out at a point, with as many products as it may take, whether or not a check is due.

    Args:
        params: the point.
        state: after all losses so far.
        value_fn: `value_fn(params) -> loss`, the same at every call.
        held_out_value_fn: the same on other examples, or None where the loss is exact.
        trigger: as of `init_watch`.
        options: as for `tricks.curvature.escape`.
        seed: of the random starts; each check draws its own.
        movable: the part of the parameters that a step may move, a pytree of booleans; None for all.
        types: a pytree with the types that the step is to have; None for those of the parameters.
        division: how the movable parameters are divided among devices; None for parameters that are whole.

    Returns:
        `Checked`; the losses in its evidence are those after `optax.apply_updates(params, step)`.

    >>> import jax.numpy as jnp
    >>> from tricks.curvature.attempt import most_evaluations
    >>> from tricks.transforms.escape_watch import init_watch
    >>> options = Options()
    >>> trigger = Trigger(most_evaluations(options))
    >>> toy = lambda w: (1 - w[0] * w[1]) ** 2
    >>> between_steps = jax.jit(lambda w, state: check(w, state, value_fn=toy, trigger=trigger, options=options))
    >>> found = between_steps(jnp.zeros(2), init_watch(trigger))
    >>> bool(found.moved), bool(toy(found.step) < 0.1), int(found.watch.escapes), int(found.watch.products)
    (True, True, 1, 2)

    Source: the lectures on critical points.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.checks)
    products = affordable_products(state, trigger)
    step, found = attempt(value_fn, held_out_value_fn, params, key, products, options, movable, types, division)
    found = jax.tree.map(lambda new, like: new.astype(like.dtype), found, nothing())
    escaped, perturbed = found.outcome == ESCAPED, found.outcome == PERTURBED
    after = after_check(
        state,
        trigger,
        escaped=escaped,
        perturbed=perturbed,
        products=found.products,
        evaluations=found.evaluations,
    )
    return Checked(step, escaped | perturbed, after, found)
