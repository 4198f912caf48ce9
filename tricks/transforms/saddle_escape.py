"""A wrapper of any optimizer that leaves saddles along negative curvature."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks import plateau
from tricks.arguments import (
    require,
    require_boolean,
    require_params,
    require_positive,
)
from tricks.branches import when
from tricks.masks import Mask, marked, require_mask
from tricks.transforms.learning_rate import LearningRateState
from tricks.transforms.leaves import map_updates
from tricks.transforms.plateau_trigger import LATEST, later, require_trigger, require_value

# Where curvature is needed it is imported in functions: it takes longer than all of this package, and few need it.
if TYPE_CHECKING:
    from tricks.curvature import Escape
    from tricks.curvature.attempt import Options

ValueFn = Callable[[Any], jax.Array]

_PRODUCT, _EVALUATION = 1.2, 1 / 3  # What they cost, in gradients of the same batch.
_SCHEDULES = (LearningRateState, optax.ScaleByScheduleState)
_INJECTED = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)
_FEWEST_PRODUCTS = 10  # A check of fewer finds little.


class EscapeState(NamedTuple):
    """Of `escape_saddle`. Counts are int32."""

    inner_state: Any
    plateau: plateau.PlateauState
    steps: jax.Array
    """Updates so far."""
    next_check: jax.Array
    """Steps before which there is none."""
    cooldown: jax.Array
    """Steps between a check that failed and the next."""
    work: jax.Array
    """What the checks after the first have cost, in gradients of a training batch."""
    due: jax.Array
    """Whether a check is wanted that is yet to come."""
    triggers: jax.Array
    """Windows on a plateau."""
    checks: jax.Array
    escapes: jax.Array
    perturbations: jax.Array
    rejections: jax.Array
    products: jax.Array
    """Hessian-vector products of all checks."""
    last: "Escape"
    """Evidence of the last check."""
    last_step: jax.Array
    """`steps` before the update of the last check; -1 before the first."""


def event(opt_state: Any) -> "Escape | None":
    """What the check of the last update came to.

    Args:
        opt_state: the state of `escape_saddle` itself.

    Returns:
        Its evidence, with the outcome `no check` where there was none in that update; None for any other state.

    >>> tx = escape_saddle(optax.sgd(0.1))
    >>> event(tx.init(jnp.zeros(1))).reason
    'no check'
    """
    from tricks.curvature.attempt import NO_CHECK

    if not isinstance(opt_state, EscapeState):
        return None
    is_new = (opt_state.last_step >= 0) & (opt_state.last_step == opt_state.steps - 1)
    return opt_state.last._replace(outcome=jnp.where(is_new, opt_state.last.outcome, NO_CHECK))


def escape_saddle(
    inner: optax.GradientTransformation,
    *,
    window: int = 100,
    min_improvement: float = 0.01,
    cooldown: int | None = None,
    share: float = 0.05,
    cost: float = 1.0,
    max_products: int = 120,
    basis_size: int = 40,
    min_decrease: float = 0.01,
    noise: bool = False,
    mask: Mask = None,
    reset: bool = True,
    seed: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Leaves saddles along negative curvature, where the loss stands still; otherwise `inner` as it is.

    Where the mean of `value` over a window has not fallen by `min_improvement` since the window before, the point is
    checked as `tricks.curvature.escape` does: Lanczos finds the most negative curvature of `value_fn`, the held-out
    loss must confirm it, and a step along it is taken only where both losses fall, as measured. That step is then the
    update, and `inner` starts anew, its schedules excepted. In all other steps, and after a check that found no way,
    the update is the one of `inner`, bit for bit.

        tx.update(gradient, state, params, value=loss, value_fn=f, held_out_value_fn=h)

    f(params) and h(params) are the loss on two disjoint sets of examples, the same at every step, without dropout;
    without h, f is taken as exact. Nothing of them is computed in a step without a check. With `check=False` nothing
    of them is compiled either: the update only watches, and leaves a check `due` in its state for a later one.

    Wrap it around all else that sees the whole parameters, as `optax.chain` and `multi_transform`, and call it inside
    `jit`. Under `vmap` every step computes a check; with `pmap`, which knows the loss of one device alone, it does not
    go.

    Args:
        inner: any optax transformation.
        window: steps whose losses are averaged.
        min_improvement: share of the loss by which a window must be lower than the one before.
        cooldown: steps after a check before the next one; doubled by every check that found no way, and back after an
            escape. None is `window`.
        share: after the first check, checks take no more than this share of the work of all gradients so far.
        cost: of one gradient of f, in gradients of a training batch: the ratio of their examples.
        max_products: Hessian-vector products of a check, at most.
        basis_size: vectors of the size of the parameters that a check keeps in memory, at most.
        min_decrease: share of each loss by which an escape must lower it.
        noise: where derivatives vanish, add as much Gaussian noise as raises the losses by 1 % at most.
        mask: the part of the parameters that an escape may move: a pytree of booleans (or a prefix of one), a function
            from the parameters to one, or None for all. What `inner` keeps frozen must be named here, or have None for
            a gradient.
        reset: whether the state of `inner` starts anew after an escape. Its averages belong to the place it has left.
        seed: of the random starts.

    Returns:
        A transformation whose state is an `EscapeState`. `update` needs `params`, `value` and `value_fn`.

    Raises:
        ValueError: for arguments out of range; on `update`, when `params`, `value` or `value_fn` are missing, or
            parameters are not floating-point.

    >>> loss = lambda w: (1 - w[0] * w[1]) ** 2
    >>> tx = escape_saddle(optax.sgd(0.1), window=2)
    >>> w = jnp.zeros(2)
    >>> state = tx.init(w)
    >>> for _ in range(10):
    ...     value, gradient = jax.value_and_grad(loss)(w)
    ...     updates, state = tx.update(gradient, state, w, value=value, value_fn=loss)
    ...     w = optax.apply_updates(w, updates)
    >>> bool(loss(w) < 1e-3), int(state.escapes), int(state.products)
    (True, 1, 2)

    Source: the lectures on critical points; the docs page on saddle escape says what it can and cannot do.
    """
    from tricks.curvature import trees
    from tricks.curvature.attempt import ESCAPED, PERTURBED, Options, attempt, nothing
    from tricks.curvature.escape import require_options
    from tricks.curvature.memory import require_memory

    inner = optax.with_extra_args_support(inner)
    require_trigger(window, min_improvement, cooldown)
    require("share", share, "0 <= share <= 1", lambda x: 0 <= x <= 1)
    require_positive("cost", cost)
    require_options(min_decrease, max_products, basis_size, noise)
    require_mask(mask)
    require_boolean("reset", reset)
    first_cooldown = window if cooldown is None else cooldown
    options = Options(min_decrease, basis_size, noise)

    def init_fn(params: optax.Params) -> EscapeState:
        # A buffer for each: one that stood for several could not be donated.
        return EscapeState(
            inner_state=inner.init(params),
            plateau=plateau.init(),
            steps=jnp.int32(0),
            next_check=jnp.int32(0),
            cooldown=jnp.int32(first_cooldown),
            work=jnp.float32(0),
            due=jnp.bool_(False),
            triggers=jnp.int32(0),
            checks=jnp.int32(0),
            escapes=jnp.int32(0),
            perturbations=jnp.int32(0),
            rejections=jnp.int32(0),
            products=jnp.int32(0),
            last=nothing(),
            last_step=jnp.int32(-1),
        )

    def affordable(state: EscapeState) -> jax.Array:
        return _affordable(state, share, cost, max_products, options)

    def watched(state: EscapeState, value: Any) -> EscapeState:
        counted = plateau.count(state.plateau, jax.lax.stop_gradient(value))
        state = state._replace(steps=optax.safe_increment(state.steps))

        def after_window() -> tuple[Any, jax.Array, jax.Array]:
            new, on_plateau = plateau.close_window(counted, min_improvement)
            wanted = on_plateau & (state.steps >= state.next_check) & (affordable(state) >= _FEWEST_PRODUCTS)
            return new, state.due | wanted, state.triggers + on_plateau

        # Between the ends of windows this is three numbers: each is a kernel of its own, to compile and to start.
        new, due, triggers = when(counted.values >= window, after_window, lambda: (counted, state.due, state.triggers))
        return state._replace(plateau=new, due=due, triggers=triggers)

    def update_fn(
        updates: optax.Updates,
        state: EscapeState,
        params: optax.Params | None = None,
        *,
        value: Any = None,
        value_fn: ValueFn | None = None,
        held_out_value_fn: ValueFn | None = None,
        check: bool = True,
        **extra_args: Any,
    ) -> tuple[optax.Updates, EscapeState]:
        require_params(params, updates)
        require_value(value, value_fn if check else "not needed")
        movable = _movable(mask, params, updates)
        chosen, _ = trees.split(params, movable)
        trees.require_floating("params", chosen)
        require_memory("basis_size", min(basis_size, trees.size(chosen)), chosen)
        # For wrappers of this kind inside.
        extra_args |= {"value_fn": value_fn} if value_fn is not None else {}
        extra_args |= {"held_out_value_fn": held_out_value_fn} if held_out_value_fn is not None else {}
        extra_args |= {} if check else {"check": False}
        updates, inner_state = inner.update(updates, state.inner_state, params, value=value, **extra_args)
        state = watched(state._replace(inner_state=inner_state), value)
        if not check or value_fn is None:
            return updates, state

        def checked(updates: Any, state: EscapeState) -> tuple[Any, EscapeState]:
            key = jax.random.fold_in(jax.random.key(seed), state.checks)
            products = affordable(state)
            # The step is measured in the type in which it is handed on.
            step, found = attempt(
                value_fn, held_out_value_fn, params, key, products, options, movable, _filled(updates, params)
            )
            found = jax.tree.map(lambda new, old: new.astype(old.dtype), found, state.last)
            moved = (found.outcome == ESCAPED) | (found.outcome == PERTURBED)
            state = _after_check(state, found, moved, first_cooldown, cost)
            if reset:
                moved_params = optax.apply_updates(params, step)
                fresh = restarted(inner.init(moved_params), state.inner_state)
                kept = jax.tree.map(lambda new, old: jnp.where(moved, new, old), fresh, state.inner_state)
                state = state._replace(inner_state=kept)
            return map_updates(lambda u, s: jnp.where(moved, s, u), updates, step), state

        return when(state.due, checked, lambda updates, state: (updates, state), updates, state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _movable(mask: Mask, params: Any, updates: Any) -> Any:
    marks = marked(mask, params)
    return jax.tree.map(lambda u, mark: mark and u is not None, updates, marks, is_leaf=lambda u: u is None)


def _filled(updates: Any, params: Any) -> Any:
    return jax.tree.map(lambda u, p: p if u is None else u, updates, params, is_leaf=lambda u: u is None)


def _affordable(state: EscapeState, share: float, cost: float, max_products: int, options: "Options") -> jax.Array:
    """Products of which a check that starts now stays within its share, whatever it comes to."""
    from tricks.curvature.attempt import most_evaluations

    gradients = (share * state.steps.astype(jnp.float32) - state.work) / cost
    affordable = jnp.floor((gradients - _work(0, most_evaluations(options))) / _PRODUCT)
    allowed = jnp.clip(affordable, 0, max_products).astype(jnp.int32)
    return jnp.where(state.checks == 0, max_products, allowed)


def _work(products: Any, evaluations: Any) -> Any:
    """In gradients of the same batch, three for the linearization, the held-out gradient and one beside the point."""
    return 3 + _PRODUCT * products + _EVALUATION * evaluations


def _after_check(
    state: EscapeState, found: "Escape", moved: jax.Array, first_cooldown: int, cost: float
) -> EscapeState:
    from tricks.curvature.attempt import ESCAPED, PERTURBED

    doubled = jnp.where(state.cooldown > LATEST // 2, LATEST, 2 * state.cooldown)
    # Noise may be of no use as a check may be.
    escaped = found.outcome == ESCAPED
    pause, cooldown = (jnp.where(escaped, first_cooldown, steps) for steps in (state.cooldown, doubled))
    # Of a plateau that was left nothing is known of the next.
    watched = jax.tree.map(lambda new, old: jnp.where(moved, new, old), plateau.init(), state.plateau)
    work = jnp.where(state.checks > 0, cost * _work(found.products, found.evaluations), 0)
    return state._replace(
        plateau=watched,
        next_check=later(state.steps, pause),
        cooldown=cooldown,
        work=state.work + work,
        due=jnp.bool_(False),
        checks=state.checks + 1,
        escapes=state.escapes + escaped,
        perturbations=state.perturbations + (found.outcome == PERTURBED),
        rejections=state.rejections + ~moved,
        products=state.products + found.products,
        last=found,
        last_step=state.steps - 1,
    )


def restarted(fresh: Any, old: Any) -> Any:
    """The state of an optimizer before its first update, but with its schedules where they were.

    Args:
        fresh: as `init` makes it.
        old: after some updates.

    Returns:
        A state with the types of `old`.

    >>> tx = optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda step: -0.1))
    >>> fresh = tx.init(jnp.zeros(1))
    >>> _, old = tx.update(jnp.ones(1), fresh)
    >>> trace, schedule = restarted(fresh, old)
    >>> trace.trace.tolist(), int(schedule.count)
    ([0.0], 1)
    """

    def one(new: Any, old: Any) -> Any:
        if isinstance(old, _SCHEDULES):
            return old
        if isinstance(old, _INJECTED):
            return old._replace(inner_state=restarted(new.inner_state, old.inner_state))
        return jnp.asarray(new, jnp.result_type(old))

    return jax.tree.map(one, fresh, old, is_leaf=lambda x: isinstance(x, (*_SCHEDULES, *_INJECTED)))
