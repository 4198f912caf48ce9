"""A wrapper of any optimizer that leaves saddles along negative curvature."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tricks.arguments import require_boolean, require_params, require_transformation
from tricks.branches import when
from tricks.curvature.attempt import NO_CHECK, Escape, Options, most_evaluations, nothing
from tricks.curvature.escape import require_options
from tricks.masks import Mask, marked, require_mask
from tricks.transforms import escape_check
from tricks.transforms.escape_check import ValueFn
from tricks.transforms.escape_watch import Trigger, Watch, init_watch, require_trigger, watch
from tricks.transforms.leaves import map_updates
from tricks.transforms.plateau_trigger import require_loss_fn, require_value, require_whole
from tricks.transforms.restart import restarted_after


class EscapeState(NamedTuple):
    """Of `escape_saddle`."""

    inner_state: Any
    watch: Watch
    last: Escape
    """Evidence of the last check."""
    last_step: jax.Array
    """Updates before the one of the last check; -1 before the first."""


def event(opt_state: Any) -> Escape | None:
    """What the check of the last update came to.

    Args:
        opt_state: the state of `escape_saddle` itself.

    Returns:
        Its evidence, with the outcome `no check` where there was none in that update; None for any other state.

    >>> tx = escape_saddle(optax.sgd(0.1))
    >>> event(tx.init(jnp.zeros(1))).reason
    'no check'
    """
    if not isinstance(opt_state, EscapeState):
        return None
    is_new = (opt_state.last_step >= 0) & (opt_state.last_step == opt_state.watch.steps - 1)
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
    >>> @jax.jit
    ... def step(w, state):
    ...     value, gradient = jax.value_and_grad(loss)(w)
    ...     updates, state = tx.update(gradient, state, w, value=value, value_fn=loss)
    ...     return optax.apply_updates(w, updates), state
    >>> w = jnp.zeros(2)
    >>> state = tx.init(w)
    >>> for _ in range(10):
    ...     w, state = step(w, state)
    >>> bool(loss(w) < 1e-3), int(state.watch.escapes), int(state.watch.products)
    (True, 1, 2)

    Source: the lectures on critical points; the docs page on saddle escape says what it can and cannot do.
    """
    require_transformation("inner", inner)
    inner = optax.with_extra_args_support(inner)
    require_options(min_decrease, max_products, basis_size, noise)
    require_mask(mask)
    require_boolean("reset", reset)
    options = Options(min_decrease, basis_size, noise)
    first_cooldown = window if cooldown is None else cooldown
    trigger = Trigger(most_evaluations(options), window, min_improvement, first_cooldown, share, cost, max_products)
    require_trigger(trigger)

    def init_fn(params: optax.Params) -> EscapeState:
        require_whole(params)
        return EscapeState(inner.init(params), init_watch(trigger), nothing(), jnp.int32(-1))

    def update_fn(
        updates: optax.Updates,
        state: EscapeState,
        params: optax.Params | None = None,
        *,
        value: Any = None,
        value_fn: Any = None,
        held_out_value_fn: ValueFn | None = None,
        check: bool = True,
        **extra_args: Any,
    ) -> tuple[optax.Updates, EscapeState]:
        require_params(params, updates)
        require_value(value)
        require_whole(params)
        if check:
            require_loss_fn("value_fn", value_fn)
        if held_out_value_fn is not None:
            require_loss_fn("held_out_value_fn", held_out_value_fn)
        movable = _movable(mask, params, updates)
        escape_check.require_checkable(params, movable, basis_size)
        extra_args |= _for_wrappers_inside(value_fn, held_out_value_fn, check)
        updates, inner_state = inner.update(updates, state.inner_state, params, value=value, **extra_args)
        state = state._replace(inner_state=inner_state, watch=watch(state.watch, value, trigger))
        if not check:
            return updates, state

        def checked(updates: Any, state: EscapeState) -> tuple[Any, EscapeState]:
            step, moved, watched, found = escape_check.check(
                params,
                state.watch,
                value_fn=value_fn,
                held_out_value_fn=held_out_value_fn,
                trigger=trigger,
                options=options,
                seed=seed,
                movable=movable,
                # The step is measured in the type in which it is handed on.
                types=_filled(updates, params),
            )
            inner_state = state.inner_state
            if reset:
                inner_state = restarted_after(inner, optax.apply_updates(params, step), inner_state, moved)
            updates = map_updates(lambda u, s: jnp.where(moved, s, u), updates, step)
            return updates, EscapeState(inner_state, watched, found, watched.steps - 1)

        return when(state.watch.due, checked, lambda updates, state: (updates, state), updates, state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _movable(mask: Mask, params: Any, updates: Any) -> Any:
    marks = marked(mask, params)
    return jax.tree.map(lambda u, mark: mark and u is not None, updates, marks, is_leaf=lambda u: u is None)


def _filled(updates: Any, params: Any) -> Any:
    return jax.tree.map(lambda u, p: p if u is None else u, updates, params, is_leaf=lambda u: u is None)


def _for_wrappers_inside(value_fn: ValueFn | None, held_out_value_fn: ValueFn | None, check: bool) -> dict[str, Any]:
    """What another wrapper of this kind needs, as far as it was given; others need not know of it."""
    given = {"value_fn": value_fn, "held_out_value_fn": held_out_value_fn, "check": None if check else False}
    return {name: argument for name, argument in given.items() if argument is not None}
