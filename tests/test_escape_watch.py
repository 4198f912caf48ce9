"""When a check is due and what it may cost, counted by hand; and a check apart from the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from conftest import run_python
from tricks import transforms
from tricks.curvature.attempt import Options, most_evaluations
from tricks.transforms import escape_check
from tricks.transforms.escape_watch import Trigger, affordable_products, after_check, init_watch, require_trigger, watch
from tricks.transforms.plateau_trigger import LATEST

# A check costs 3 + 30 / 3 gradients without its products.
_TRIGGER = Trigger(max_evaluations=30, window=2, cooldown=4)


def _watched(state, values, trigger=_TRIGGER):
    """The states after each of the losses."""

    def one(state, value):
        state = watch(state, value, trigger)
        return state, state

    return jax.jit(lambda s, v: jax.lax.scan(one, s, v)[1])(state, jnp.asarray(values, jnp.float32))


def _last(states):
    return jax.tree.map(lambda leaf: leaf[-1], states)


def _same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_check_is_due_at_the_end_of_a_window_on_a_plateau_and_stays_due():
    # The means are 3.5, 2.5, 2.49 and 1: the third is not 1 % below the second.
    states = _watched(init_watch(_TRIGGER), [4, 3, 3, 2, 2.5, 2.48, 1, 1])
    assert states.due.tolist() == [False] * 5 + [True] * 3
    assert states.triggers.tolist() == [0] * 5 + [1] * 3
    assert states.steps.tolist() == list(range(1, 9))
    assert states.checks.tolist() == [0] * 8


def test_the_improvement_that_is_demanded_is_the_triggers():
    demanding = _TRIGGER._replace(min_improvement=0.5)
    states = _watched(init_watch(demanding), [4, 4, 2.1, 2.1, 1.0, 1.0], demanding)
    assert states.triggers.tolist() == [0, 0, 0, 1, 1, 1]


def test_no_check_is_due_before_the_cooldown_is_over():
    # Every window from the second on is on a plateau; after 10 steps a check is allowed again.
    state = init_watch(_TRIGGER)._replace(next_check=jnp.int32(10))
    states = _watched(state, [1.0] * 12)
    assert states.due.tolist() == [False] * 9 + [True] * 3
    assert states.triggers.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_no_check_is_due_that_could_not_take_ten_products():
    # After 48 steps (0.5 48 - 13) / 1.2 = 9.2, after 52 it is 10.8.
    trigger = _TRIGGER._replace(window=4, share=0.5)
    state = init_watch(trigger)._replace(checks=jnp.int32(1))
    states = _watched(state, [1.0] * 60, trigger)
    assert np.flatnonzero(states.due).tolist() == list(range(51, 60))


def test_a_share_of_all_work_is_left_for_products():
    trigger = _TRIGGER._replace(share=0.5, cost=2.0, max_products=50)
    state = init_watch(trigger)._replace(steps=jnp.int32(100), work=jnp.float32(3.75))
    assert affordable_products(state, trigger) == 50
    # By hand: ((0.5 100 - 3.75) / 2 - 13) / 1.2 = 8.4; after the first check alone.
    for steps, expected in ((100, 8), (52, 0), (10_000, 50)):
        state = state._replace(steps=jnp.int32(steps), checks=jnp.int32(3))
        found = affordable_products(state, trigger)
        assert (int(found), found.dtype) == (expected, jnp.int32)


@pytest.mark.parametrize(
    ("escaped", "perturbed", "next_check", "cooldown", "counts"),
    [
        # The pause is the present cooldown, and the next twice as long; after an escape both are the first again.
        (False, False, 100 + 16, 32, (0, 0, 1)),
        (False, True, 100 + 16, 32, (0, 1, 0)),
        (True, False, 100 + 4, 4, (1, 0, 0)),
    ],
)
def test_what_follows_from_a_check(escaped, perturbed, next_check, cooldown, counts):
    state = _last(_watched(init_watch(_TRIGGER), [1.0] * 5))
    state = state._replace(steps=jnp.int32(100), cooldown=jnp.int32(16), checks=jnp.int32(2), work=jnp.float32(1.5))
    assert state.due
    trigger = _TRIGGER._replace(cost=2.0)
    new = after_check(state, trigger, escaped=escaped, perturbed=perturbed, products=10, evaluations=6)
    assert not new.due
    assert (int(new.next_check), int(new.cooldown)) == (next_check, cooldown)
    assert (int(new.escapes), int(new.perturbations), int(new.rejections)) == counts
    assert (int(new.checks), int(new.products), int(new.steps), int(new.triggers)) == (3, 10, 100, 1)
    # 2 (3 + 1.2 10 + 6 / 3) gradients of a step.
    assert float(new.work) == pytest.approx(1.5 + 34)
    # What is known of a plateau is of no use in another place.
    moved = escaped or perturbed
    assert (int(new.plateau.values), float(new.plateau.previous_mean)) == ((0, np.inf) if moved else (1, 1.0))
    assert int(new.plateau.windows) == (0 if moved else 1)


def test_the_first_check_is_free_and_pauses_have_an_end():
    state = init_watch(_TRIGGER)._replace(steps=jnp.int32(2**31 - 3), cooldown=jnp.int32(LATEST // 2 + 1))
    state = after_check(state, _TRIGGER, escaped=False, perturbed=False, products=10, evaluations=6)
    assert (float(state.work), int(state.products)) == (0, 10)
    assert (int(state.next_check), int(state.cooldown)) == (2**31 - 1, LATEST)
    half = init_watch(_TRIGGER)._replace(cooldown=jnp.int32(LATEST // 2))
    assert after_check(half, _TRIGGER, escaped=False, perturbed=False, products=0, evaluations=0).cooldown == LATEST


def test_within_a_window_three_numbers_change():
    state = init_watch(_TRIGGER)
    new = watch(state, 1.0, _TRIGGER)
    changed = {field for field in state._fields if getattr(new, field) is not getattr(state, field)}
    assert changed == {"plateau", "steps"}
    assert new.plateau.previous_mean is state.plateau.previous_mean
    assert new.plateau.windows is state.plateau.windows
    # And all else waits behind one conditional.
    assert str(jax.make_jaxpr(lambda s, v: watch(s, v, _TRIGGER))(state, 1.0)).count("cond[") == 1


def test_a_loss_at_a_time_is_the_same_as_a_chunk_of_them_or_runs_side_by_side():
    values = np.random.default_rng(0).uniform(1, 2, (3, 9)).astype(np.float32)
    lanes = jax.vmap(lambda row: _watched(init_watch(_TRIGGER), row))(jnp.asarray(values))
    for lane, row in enumerate(values):
        state = init_watch(_TRIGGER)
        for value in row:
            state = watch(state, value, _TRIGGER)
        _same(jax.tree.map(lambda leaf, i=lane: leaf[i, -1], lanes), state)
        types = jax.tree.map(lambda leaf: leaf.dtype, state)
        assert types == jax.tree.map(lambda leaf: leaf.dtype, init_watch(_TRIGGER))


def _toy(w):
    return (1 - w[0] * w[1]) ** 2


def test_a_check_between_chunks_of_steps_is_the_one_of_the_wrapper():
    options = Options()
    trigger = Trigger(most_evaluations(options), window=2, cooldown=2)
    inner = optax.sgd(0.1, momentum=0.9)
    tx = transforms.escape_saddle(inner, window=2, cooldown=2, seed=5)
    params, gradient = jnp.zeros(2), jnp.ones(2)

    @jax.jit
    def wrapped(params):
        def one(state, _):
            return tx.update(gradient, state, params, value=1.0, check=False)[1], None

        state = jax.lax.scan(one, tx.init(params), length=4)[0]
        return tx.update(gradient, state, params, value=1.0, value_fn=_toy, held_out_value_fn=_toy)

    # No buffer stands for two, so that all can be donated.
    watch_chunk = jax.jit(
        lambda s: jax.lax.fori_loop(0, 5, lambda _, s: watch(s, jnp.float32(1), trigger), s), donate_argnums=0
    )

    @jax.jit
    def check(params, state):
        return escape_check.check(
            params, state, value_fn=_toy, held_out_value_fn=_toy, trigger=trigger, options=options, seed=5
        )

    updates, state = wrapped(params)
    watched = watch_chunk(init_watch(trigger))
    assert watched.due
    checked = check(params, watched)
    assert checked.moved
    assert checked.found.reason == "escaped"
    _same(checked.step, updates)
    _same(checked.watch, state.watch)
    _same(checked.found, state.last)
    assert state.last_step == 4


def test_every_check_draws_its_own_start_and_one_without_a_way_leaves_all_as_it_is():
    options = Options()
    trigger = Trigger(most_evaluations(options), cooldown=3)

    @jax.jit
    def check(params, state, factor, seed):
        def value_fn(w):
            return 1 + factor * w[0] ** 2 + jnp.linspace(1, 2, 8) @ w[1:] ** 2

        return escape_check.check(params, state, value_fn=value_fn, trigger=trigger, options=options, seed=seed)

    first = init_watch(trigger)
    second = first._replace(checks=jnp.int32(1), steps=jnp.int32(10**6))
    steps = [check(jnp.zeros(9), state, -1.0, seed).step for state, seed in ((first, 0), (second, 0), (first, 1))]
    assert len({np.asarray(step).tobytes() for step in steps}) == 3
    checked = check(jnp.zeros(9), first, 1.0, 0)
    assert not checked.moved
    assert checked.found.reason == "no negative curvature"
    np.testing.assert_array_equal(checked.step, 0)
    assert (int(checked.watch.rejections), int(checked.watch.cooldown)) == (1, 6)
    # A check takes no more products than are left to it: (0.05 600 - 3 - 62 / 3) / 1.2 = 5.3.
    poor = second._replace(steps=jnp.int32(600))
    assert affordable_products(poor, trigger) == 5
    assert check(jnp.zeros(9), poor, 1.0, 0).found.products <= 5 < checked.found.products


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "window is 0; allowed: an integer, 1 to 1073741824"),
        ({"min_improvement": -1}, "min_improvement is -1"),
        ({"cooldown": None}, "cooldown is None; allowed: an integer, 0 to 1073741824"),
        ({"share": -0.1}, "share is -0.1; allowed: 0 <= share <= 1"),
        ({"cost": 0}, "cost is 0; allowed: a finite number above 0"),
    ],
)
def test_a_trigger_that_is_out_of_range_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        require_trigger(_TRIGGER._replace(**wrong))


def test_the_transforms_load_curvature_when_it_is_asked_for():
    code = (
        "import sys, tricks.transforms as t, tricks.transforms.escape_watch, tricks.transforms.restart;"
        "loaded = lambda: any(name.startswith('tricks.curvature') for name in sys.modules);"
        "before = loaded(), set(t.__all__) <= set(dir(t)), hasattr(t, 'no_such_name');"
        "from tricks.transforms import *;"
        "print(*before, loaded(), escape_saddle.__module__, PerturbationState.__module__)"
    )
    done = run_python("-c", code)
    assert done.status == 0, done
    names = "tricks.transforms.saddle_escape tricks.transforms.perturbation"
    assert done.output.split() == f"False True False True {names}".split()
