"""The wrappers that leave plateaus: silent elsewhere, at the right steps, within their share, and composable."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from conftest import QUICKLY_COMPILED, run_python
from tricks import transforms
from tricks.curvature import line_search
from tricks.curvature.attempt import OUTCOMES
from tricks.transforms import restart


def _bowl(w):
    return jnp.sum(jnp.cosh(w))


def _toy(w):
    return (1 - w[0] * w[1]) ** 2


def _same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def _run(tx, loss, params, steps, value=None, **extra):
    """Parameters and the state after some steps, operation by operation: programs would be fused differently."""
    tx = optax.with_extra_args_support(tx)
    state = tx.init(params)
    for _ in range(steps):
        current, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state, params, value=current if value is None else value, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


def _trace(tx, loss, params, steps, value=None, **extra):
    """States and parameters after every step, all in one scan."""
    tx = optax.with_extra_args_support(tx)

    def one(carry, _):
        params, state = carry
        current, gradient = jax.value_and_grad(loss)(params)
        shown = current if value is None else jnp.float32(value)
        updates, state = tx.update(gradient, state, params, value=shown, **extra)
        carry = optax.apply_updates(params, updates), state
        return carry, carry

    return jax.jit(lambda p: jax.lax.scan(one, (p, tx.init(p)), length=steps)[1])(params)


def test_without_a_plateau_it_is_the_optimizer_bit_for_bit():
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([0.5, 3.0])}

    def loss(p):
        return _bowl(p["a"]) + _bowl(p["b"])

    wrapped, state = _run(transforms.escape_saddle(optax.adam(0.1), window=2), loss, params, 3, value_fn=loss)
    alone, inner_state = _run(optax.adam(0.1), loss, params, 3)
    _same(wrapped, alone)
    _same(state.inner_state, inner_state)
    assert state.watch.checks == 0


@pytest.mark.parametrize("inner", [transforms.lamb(0.05), optax.sgd(0.1, momentum=0.9)])
def test_a_check_that_finds_no_way_leaves_the_optimizer_alone(inner):
    start = jnp.array([[1.0, -2.0]])
    tx = transforms.escape_saddle(inner, window=2, share=1.0, cost=1e-6)
    wrapped, state = _trace(tx, _bowl, start, 20, value=1.0, value_fn=_bowl)
    alone, inner_state = _trace(inner, _bowl, start, 20)
    # After 4, 6, 10 and 18 updates.
    assert state.watch.checks[-1] == state.watch.rejections[-1] == 4
    np.testing.assert_allclose(wrapped, alone, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.inner_state, inner_state)


def test_the_toy_is_left_at_the_first_check_and_the_step_is_the_accepted_one():
    tx = transforms.escape_saddle(optax.sgd(0.1, momentum=0.9), window=5)
    params, state = _trace(tx, _toy, jnp.zeros(2), 100, value_fn=_toy)
    # Windows end after 5 and 10 updates; the second has not fallen below the first.
    assert not state.watch.escapes[8]
    assert state.watch.escapes[9] == 1
    assert state.last_step[9] == 9
    np.testing.assert_array_equal(params[8], 0)
    assert float(_toy(params[9])) == pytest.approx(float(state.last.loss_after[9]), abs=1e-6)
    assert float(state.last.loss_before[9]) == 1
    assert _toy(params[-1]) < 1e-4
    found = transforms.event(jax.tree.map(lambda leaf: leaf[9], state))
    assert found.reason == "escaped"
    assert transforms.event(jax.tree.map(lambda leaf: leaf[10], state)).reason == "no check"
    assert transforms.event(optax.sgd(0.1).init(jnp.zeros(2))) is None


@jax.jit
def _at_rest(window, cooldown, share, cost):
    """What is watched in 2,000 steps at a place where no check finds a way: numbers, so that it is compiled once."""

    def loss(w):
        return jnp.sum(jnp.linspace(1e-3, 1, 300) * w**2)

    tx = transforms.escape_saddle(optax.sgd(0.0), window=window, cooldown=cooldown, share=share, cost=cost)
    params = jnp.ones(300)

    def one(state, _):
        value, gradient = jax.value_and_grad(loss)(params)
        _, state = tx.update(gradient, state, params, value=value, value_fn=loss)
        return state, state.watch

    return jax.lax.scan(one, tx.init(params), length=2000)[1]


def test_cooldown_doubles_after_every_rejection():
    watched = _at_rest(5, 5, 1.0, 1e-6)
    # By hand: after 10, then 5, 10, 20, 40, 80, … updates later.
    checked = np.flatnonzero(np.diff(np.asarray(watched.checks), prepend=0)) + 1
    assert checked.tolist() == [10, 15, 25, 45, 85, 165, 325, 645, 1285]
    assert watched.cooldown[-1] == 5 * 2**9
    assert watched.triggers[-1] == 399


def test_the_longest_cooldown_checks_once():
    watched = _at_rest(5, 2**30, 1.0, 1e-6)
    assert watched.checks[-1] == 1
    assert watched.cooldown[-1] == 2**30
    assert watched.next_check[-1] == 2**30 + 10


def _watched_then_checked(tx, gradient, params, loss):
    """The second of two updates, with a window of 1."""

    @jax.jit
    def both(gradient, params):
        _, state = tx.update(gradient, tx.init(params), params, value=1.0, check=False)
        return tx.update(gradient, state, params, value=1.0, value_fn=loss)

    return both(gradient, params)


def test_the_update_is_measured_in_the_type_of_the_gradient():
    def loss(w):
        return 0.1 - 0.06 * jnp.sum(w**2) + 0.02 * jnp.sum(w**4) + 1e4 * (w[0] - 1.01 * w[1]) ** 2

    tx = transforms.escape_saddle(optax.sgd(0.1), window=1)
    params, gradient = jnp.zeros(2), jnp.zeros(2, jnp.bfloat16)
    updates, state = _watched_then_checked(tx, gradient, params, loss)
    assert updates.dtype == jnp.bfloat16
    assert state.watch.checks == 1
    after = loss(optax.apply_updates(params, updates))
    assert after <= loss(params)
    assert float(after) == pytest.approx(float(state.last.loss_after), rel=1e-4)


def test_frozen_parameters_stay_where_they_are():
    def loss(p):
        return (1 - p["a"] * p["b"]) ** 2 + (1 - p["frozen"] * p["b"]) ** 2

    params = {"a": jnp.float32(0), "b": jnp.float32(0), "frozen": jnp.float32(0)}
    labels = {"a": "moves", "b": "moves", "frozen": "stays"}
    inner = optax.multi_transform({"moves": optax.sgd(0.1), "stays": optax.set_to_zero()}, labels)
    mask = {"a": True, "b": True, "frozen": False}
    found, state = _trace(transforms.escape_saddle(inner, window=3, mask=mask), loss, params, 20, value_fn=loss)
    assert state.watch.escapes[-1] == 1
    np.testing.assert_array_equal(found["frozen"], 0)
    # A gradient of None says the same.
    tx = transforms.escape_saddle(transforms.momentum(0.1), window=1)
    gradient = {"a": jnp.float32(0), "b": jnp.float32(0), "frozen": None}
    updates, state = _watched_then_checked(tx, gradient, params, loss)
    assert state.watch.escapes == 1
    assert updates["frozen"] is None
    assert updates["a"] != 0


def test_cooldown_is_back_after_an_escape():
    def two_saddles(w):
        return _toy(w[:2]) + 0.1 * (1 - w[2] * w[3]) ** 2

    tx = transforms.escape_saddle(optax.sgd(0.1), window=10, cooldown=10, share=1.0, cost=1e-6)
    _, state = _trace(tx, two_saddles, jnp.zeros(4), 300, value_fn=two_saddles)
    assert state.watch.escapes[-1] >= 1
    escaped = int(np.flatnonzero(np.diff(np.asarray(state.watch.escapes), prepend=0))[-1])
    assert state.watch.cooldown[escaped] == 10
    assert state.watch.next_check[escaped] == escaped + 1 + 10


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("cost", [0.3, 8.0])
def test_checks_after_the_first_stay_within_their_share(share, cost):
    watched = _at_rest(1, 0, share, cost)
    steps = np.asarray(watched.steps)
    assert (np.asarray(watched.work) <= share * steps + 1e-6).all()
    assert watched.checks[-1] == 1 if share == 0 else watched.checks[-1] >= 1
    if share == 0.5 and cost < 1:
        assert watched.checks[-1] > 3
        assert watched.work[-1] > 0.8 * share * 2000


def test_nothing_is_evaluated_without_a_check():
    calls = []

    def counting(w):
        jax.debug.callback(lambda: calls.append(1))
        return _bowl(w)

    tx, params = transforms.escape_saddle(optax.sgd(0.1), window=10), jnp.ones(2)

    @jax.jit
    def after(steps):
        def one(_, state):
            return tx.update(params, state, params, value=jnp.float32(1), value_fn=counting)[1]

        return jax.lax.fori_loop(0, steps, one, tx.init(params))

    jax.block_until_ready(after(19))
    jax.effects_barrier()
    assert not calls
    jax.block_until_ready(after(20))
    jax.effects_barrier()
    assert calls


def test_a_check_may_be_left_for_later():
    tx = transforms.escape_saddle(optax.sgd(0.1), window=2)
    params, state = jnp.zeros(2), tx.init(jnp.zeros(2))
    # Without value_fn: nothing of the check can even be traced.
    watch = jax.jit(lambda s: tx.update(jnp.zeros(2), s, params, value=1.0, check=False)[1])
    for step in range(7):
        state = watch(state)
        assert bool(state.watch.due) == (step >= 3)
    assert state.watch.checks == 0
    updates, state = jax.jit(lambda s: tx.update(jnp.zeros(2), s, params, value=1.0, value_fn=_toy))(state)
    assert state.watch.escapes == 1
    assert not state.watch.due
    assert _toy(optax.apply_updates(params, updates)) < 0.1


@pytest.mark.parametrize("reset", [True, False])
def test_the_optimizer_starts_anew_but_not_its_schedule(reset):
    rate = optax.linear_schedule(0.1, 0.0, 1000)
    inner = {
        "ours": transforms.momentum(rate, 0.9),
        "chain": optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(rate)),
        "injected": optax.inject_hyperparams(optax.sgd)(rate, momentum=0.9),
    }
    # Side by side, each with parameters of its own, so that they are compiled once.
    together = optax.partition(inner, {name: name for name in inner})
    tx = transforms.escape_saddle(together, window=5, reset=reset)

    def loss(p):
        return sum(_toy(w) for w in p.values())

    # A slope that never ends beside the saddle fills the momentum.
    def sloping(p):
        return loss(p) + 0.1 * sum(w[2] for w in p.values())

    start = {name: jnp.zeros(3) for name in inner}
    _, state = _trace(tx, sloping, start, 10, value=1.0, value_fn=loss)
    assert state.watch.escapes[-1] == 1
    states = state.inner_state.inner_states
    for name, momentum in (
        ("ours", lambda state: state[1]),
        ("chain", lambda state: state[0]),
        ("injected", lambda state: state.inner_state),
    ):
        averages = jax.tree.map(lambda leaf: leaf[-1], momentum(states[name].inner_state))
        assert any(leaf.ndim for leaf in jax.tree.leaves(averages))
        is_zero = not any(np.any(leaf) for leaf in jax.tree.leaves(averages) if leaf.ndim)
        assert is_zero == reset, name
        counts = optax.tree.get_all_with_path(states[name].inner_state, "count")
        # The momentum counts its own updates.
        kept = [int(count[-1]) for path, count in counts if "MomentumState" not in str(path)]
        assert kept, name
        assert set(kept) == {10}


def test_the_update_composes_with_chains_and_the_learning_rate_is_found():
    tx = optax.chain(optax.clip_by_global_norm(1.0), transforms.escape_saddle(transforms.adam(0.01), window=5))
    params, state = _trace(tx, _toy, jnp.zeros(2), 50, value_fn=_toy)
    assert _toy(params[-1]) < 0.5
    assert float(transforms.current_learning_rate(state)[-1]) == pytest.approx(0.01)


def test_held_out_losses_decide():
    def other(w):
        return -0.3 * _toy(w)

    tx = transforms.escape_saddle(optax.sgd(0.1), window=5)
    params, state = _trace(tx, _toy, jnp.zeros(2), 20, value_fn=_toy, held_out_value_fn=other)
    assert state.watch.rejections[-1] > 0
    np.testing.assert_array_equal(params, 0)
    assert OUTCOMES[int(state.last.outcome[-1])] == "curvature of the batch alone"


def test_a_loss_that_is_not_finite_neither_triggers_nor_moves():
    tx = transforms.escape_saddle(optax.sgd(0.1), window=2)

    @jax.jit
    def twenty(value, factor):
        return _trace(tx, _toy, jnp.zeros(2), 20, value=value, value_fn=lambda w: _toy(w) * factor)

    _, state = twenty(jnp.nan, 1.0)
    assert state.watch.checks[-1] == 0
    params, state = twenty(1.0, jnp.nan)
    assert state.watch.escapes[-1] == 0
    np.testing.assert_array_equal(params, 0)
    assert OUTCOMES[int(state.last.outcome[-1])] == "not finite"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_types_stay_what_they_are(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        start = jnp.zeros(2, dtype)
        tx = transforms.escape_saddle(optax.adam(0.01), window=5, noise=True)
        params, state = _trace(tx, _toy, start, 20, value_fn=_toy)
        assert params.dtype == dtype
        assert state.watch.escapes[-1] == 1
        assert _toy(params[-1]) < 0.2


@jax.jit
def _perturbed(radius):
    tx = transforms.perturb_on_plateau(optax.sgd(0.0), radius, window=5, cooldown=20)
    start = {"a": jnp.zeros(2), "b": jnp.zeros((1, 1))}
    return _trace(tx, lambda p: _bowl(p["a"]) + _bowl(p["b"]), start, 2000, value=1.0)


@pytest.mark.parametrize("radius", [1e-3, 0.5])
def test_perturbations_are_evenly_drawn_from_a_ball_on_plateaus_alone(radius):
    params, state = _perturbed(radius)
    places = np.concatenate([np.asarray(params["a"]), np.asarray(params["b"])[:, 0]], axis=1)
    steps = np.diff(places, axis=0, prepend=0)
    lengths = np.linalg.norm(steps, axis=1)
    moved = np.flatnonzero(lengths)
    # After 10 updates, then every 20.
    assert moved.tolist() == list(range(9, 2000, 20))
    assert state.perturbations[-1] == len(moved)
    assert lengths.max() <= radius * 1.001
    # The cubes of the lengths in a ball of three dimensions are even.
    np.testing.assert_allclose(np.mean((lengths[moved] / radius) ** 3), 0.5, atol=0.1)
    np.testing.assert_allclose(steps[moved].mean(axis=0), 0, atol=0.2 * radius)


def test_a_perturbation_frees_the_toy():
    tx = transforms.perturb_on_plateau(optax.sgd(0.1), 0.1, window=5)
    params, _ = _trace(tx, _toy, jnp.zeros(2), 200)
    # It goes on being perturbed at the minimum.
    assert _toy(params[-1]) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0; allowed: an integer, 1 to 1073741824"),
        ({"window": 2**40}, "window is 1099511627776; allowed"),
        ({"noise": "false"}, "noise is 'false'; allowed: True or False"),
        ({"mask": {"a": 1.0}}, "mask holds 1.0"),
        ({"window": 2.5}, "window is 2.5"),
        ({"min_improvement": -0.1}, "min_improvement is -0.1"),
        ({"cooldown": -1}, "cooldown is -1; allowed: an integer, 0 to 1073741824"),
        ({"share": 1.5}, "share is 1.5; allowed: 0 <= share <= 1"),
        ({"cost": 0.0}, "cost is 0.0; allowed: a finite number above 0"),
        ({"max_products": 0}, "max_products is 0; allowed: an integer, 3 to 1073741824"),
        ({"basis_size": 2}, "basis_size is 2; allowed: an integer, 5 or more"),
        ({"min_decrease": "much"}, "min_decrease is 'much'; allowed: 0 <= min_decrease < 1"),
    ],
)
def test_what_is_out_of_range_is_refused_when_it_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        transforms.escape_saddle(optax.sgd(0.1), **options)


def test_what_is_missing_is_named():
    tx = transforms.escape_saddle(optax.sgd(0.1))
    zeros = jnp.zeros(2)
    with pytest.raises(ValueError, match="loss_fn returns an array of shape"):
        _trace(tx, _toy, zeros, 2, value_fn=lambda w: w)
    for extra, message in (
        ({}, "value is missing: call update\\(gradient, state, params, value=loss, value_fn="),
        ({"value": 1.0}, "value_fn is missing"),
        ({"value": zeros, "value_fn": _toy}, "value has the shape \\(2,\\); allowed: a scalar"),
    ):
        with pytest.raises(ValueError, match=message):
            tx.update(zeros, tx.init(zeros), zeros, **extra)
    with pytest.raises(ValueError, match="params is None"):
        tx.update(zeros, tx.init(zeros), value=1.0, value_fn=_toy)
    mixed = {"count": jnp.int32(1), "w": zeros}
    with pytest.raises(ValueError, match=r"params\['count'\] is int32"):
        tx.update(mixed, tx.init(mixed), mixed, value=1.0, value_fn=lambda p: _toy(p["w"]))
    perturbed = transforms.perturb_on_plateau(optax.sgd(0.1), 0.1)
    with pytest.raises(ValueError, match="value is missing"):
        perturbed.update(zeros, perturbed.init(zeros), zeros)
    with pytest.raises(ValueError, match="radius is -1; allowed: a finite number above 0"):
        transforms.perturb_on_plateau(optax.sgd(0.1), -1)


@pytest.mark.parametrize("side", [1, -1])
def test_both_ways_are_tried_at_full_length_before_a_shorter_one(side):
    """The loss falls at one place alone, the first length of a parabola of curvature -1, on one side."""
    first = (2 * 0.1) ** 0.5

    def losses_at(a):
        inside = jnp.abs(a - side * first) < 1e-3
        return jnp.where(a == 0, 1.0, jnp.where(inside, 0.5, 2.0))[None]

    found = line_search.along(losses_at, jnp.array([-1.0]), longest=jnp.float32(9), min_decrease=0.01)
    assert float(found.distance) == pytest.approx(side * first, rel=1e-5)
    # At 0, one way, the other, and then twice as far.
    assert int(found.trials) == 4
    nowhere = line_search.along(
        lambda a: 1 + a[None] ** 2, jnp.array([-1.0]), longest=jnp.float32(9), min_decrease=0.01
    )
    assert float(nowhere.distance) == 0
    assert int(nowhere.trials) == line_search.MOST_TRIALS + 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transforms.escape_saddle(transforms.adam), r"inner is <function adam .*: call this function first"),
        (lambda: transforms.escape_saddle("adam"), r"inner is 'adam'; allowed: an optax transformation"),
        (lambda: transforms.escape_saddle(None), r"inner is None; allowed: an optax transformation"),
        (lambda: transforms.perturb_on_plateau(optax.sgd, 0.1), r"inner is <function sgd .*: call this function first"),
    ],
)
def test_an_optimizer_that_is_none_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"value_fn": 3}, "value_fn is 3; allowed: a function of the parameters"),
        ({"held_out_value_fn": jnp.zeros(2)}, r"held_out_value_fn is Array\(.*; allowed: a function"),
        ({"value": "1.0"}, "value is '1.0'; allowed: a scalar"),
        ({"value": _toy}, "value is <function _toy .*; allowed: a scalar"),
    ],
)
def test_what_is_no_loss_is_named(given, message):
    tx, zeros = transforms.escape_saddle(optax.sgd(0.1)), jnp.zeros(2)
    with pytest.raises(ValueError, match=message):
        tx.update(zeros, tx.init(zeros), zeros, **({"value": 1.0, "value_fn": _toy} | given))


def test_a_schedule_that_returns_nothing_is_named():
    with pytest.raises(ValueError, match="a schedule returns None; allowed: a number"):
        transforms.escape_saddle(transforms.adam(lambda step: None)).init(jnp.zeros(2))
    with pytest.raises(ValueError, match=r"a schedule returns '0\.1'; allowed: a number"):
        transforms.add_l2_decay(lambda step: "0.1", mask=None).update(
            jnp.zeros(2), transforms.add_l2_decay(0.1, mask=None).init(jnp.zeros(2)), jnp.zeros(2)
        )


@pytest.mark.parametrize(
    "around",
    [
        lambda tx: optax.masked(tx, {"a": True, "b": False}),
        lambda tx: optax.partition({"x": tx, "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}),
        lambda tx: optax.selective_transform(tx, freeze_mask={"a": False, "b": True}),
    ],
    ids=["masked", "partition", "selective_transform"],
)
def test_what_takes_parameters_away_stands_inside(around):
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    with pytest.raises(ValueError, match=r"params\['b'\] was taken out by .*: put escape_saddle around it"):
        around(transforms.escape_saddle(optax.sgd(0.1))).init(params)

    def loss(p):
        return _toy(p["a"] + p["b"])

    inside = transforms.escape_saddle(around(optax.sgd(0.1)), window=1, mask={"a": True, "b": False})
    updates, state = _watched_then_checked(inside, params, params, loss)
    assert state.watch.escapes == 1
    np.testing.assert_array_equal(updates["b"], 0)
    assert loss(updates) < 0.1


def test_what_a_program_is_compiled_for_is_not_injected():
    injected = optax.inject_hyperparams(transforms.escape_saddle)(optax.sgd(0.1), window=1)
    with pytest.raises(ValueError, match=r"min_decrease is an array .*name it in static_args"):
        injected.init(jnp.zeros(2))
    make = optax.inject_hyperparams(transforms.escape_saddle, static_args=("basis_size", "min_decrease"))
    _, state = _watched_then_checked(make(optax.sgd(0.1), window=1, cooldown=1), jnp.zeros(2), jnp.zeros(2), _toy)
    assert state.inner_state.watch.escapes == 1


def test_the_line_search_takes_the_better_side():
    # The parabola is alike on both sides; the cubic makes the left one fall further.
    along = partial(line_search.along, lambda a: jnp.array([-(a**2) + 0.1 * a**3 + a**4]), min_decrease=0.01)
    found = jax.jit(along)(jnp.array([-2.0]), longest=jnp.float32(0.7))
    assert found.distance < 0
    assert float(found.losses[0]) < -0.2


_TEN_LATER = {
    "momentum": lambda rate, strength: transforms.momentum(rate),
    "adamw": lambda rate, strength: transforms.adamw(rate, weight_decay=strength),
    "lamb": lambda rate, strength: transforms.lamb(rate, weight_decay=strength),
    "decays": lambda rate, strength: optax.chain(
        transforms.add_l1_decay(strength), transforms.add_l2_decay(strength), transforms.rmsprop(rate)
    ),
    "soft threshold": lambda rate, strength: optax.chain(
        transforms.adam(rate), transforms.soft_threshold(strength, rate)
    ),
    "optax's": lambda rate, strength: optax.adamw(rate, weight_decay=strength),
    "optax's, from the twelfth on": lambda rate, strength: optax.chain(
        optax.conditionally_transform(optax.trace(0.9), lambda step: strength(step) > 0.7), optax.sgd(rate)
    ),
}


@pytest.mark.parametrize("name", _TEN_LATER)
def test_every_schedule_goes_on_and_every_average_starts_anew(name):
    rate, strength = optax.linear_schedule(0.1, 0.0, 30), optax.linear_schedule(0.0, 2.0, 30)
    params = {"kernel": jnp.arange(1.0, 7.0).reshape(2, 3)}
    gradient = {"kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)}
    tx = _TEN_LATER[name](rate, strength)
    old = tx.init(params)
    for _ in range(10):
        _, old = tx.update(gradient, old, params)
    again = restart.restarted(tx.init(params), old)
    later = _TEN_LATER[name](lambda step: rate(step + 10), lambda step: strength(step + 10))
    fresh = later.init(params)
    for _ in range(3):
        ours, again = tx.update(gradient, again, params)
        wanted, fresh = later.update(gradient, fresh, params)
        chex.assert_trees_all_close(ours, wanted, rtol=1e-6)


def test_gathered_gradients_start_anew_and_what_schedules_their_number_goes_on():
    rate = optax.linear_schedule(0.1, 0.0, 30)
    tx = optax.MultiSteps(optax.chain(optax.trace(0.9), optax.scale_by_schedule(rate)), lambda step: 2 + (step >= 3))
    params, gradient = jnp.zeros(2), jnp.array([1.0, -1.0])
    old = tx.init(params)
    for _ in range(8):  # Three times two and two of three.
        _, old = tx.update(gradient, old, params)
    assert (old.gradient_step, old.mini_step) == (3, 2)
    again = restart.restarted(tx.init(params), old)
    updates = []
    for _ in range(3):
        update, again = tx.update(gradient, again, params)
        updates.append(update)
    np.testing.assert_allclose(updates, np.outer([0, 0, rate(3)], gradient), rtol=1e-6)


def test_a_rate_that_a_plateau_has_lowered_stays_low():
    tx = optax.contrib.reduce_on_plateau(patience=1, factor=0.5)
    old = tx.init(jnp.zeros(2))
    for _ in range(6):
        _, old = tx.update(jnp.ones(2), old, value=1.0)
    assert old.scale < 1
    assert restart.restarted(tx.init(jnp.zeros(2)), old).scale == old.scale


_EXPLICIT = """
import jax, jax.numpy as jnp, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from tricks import curvature, transforms
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)
with jax.set_mesh(mesh):
    target = jnp.ones((8, 8), out_sharding=P("x", "y"))

    def loss(p):
        a, b = (jax.sharding.reshard(p[name], P("x", "y")) for name in "ab")
        return jnp.mean((target - a * b) ** 2) + 0.1 * jnp.mean(p["free"] ** 2)

    # Along different axes, along both, along none.
    params = {
        "a": jnp.zeros((8, 8), out_sharding=P(None, "x")),
        "b": jnp.zeros((8, 8), out_sharding=P("y", "x")),
        "free": jnp.zeros(8, out_sharding=P()),
    }
    tx = transforms.escape_saddle(transforms.adam(0.01), window=1)

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state, params, value=value, value_fn=loss, held_out_value_fn=loss)
        return optax.apply_updates(params, updates), state

    placed = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, params)
    state = tx.init(params)
    for _ in range(2):
        params, state = step(params, state)
    assert int(state.watch.escapes) == 1, transforms.event(state)
    assert jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, params) == placed
    assert float(loss(params)) < 0.9, float(loss(params))
    operator = curvature.hessian(loss, jax.tree.map(jnp.zeros_like, params))
    found = curvature.eigenpairs(operator, key=jax.random.key(0))
    assert abs(float(found.values[0]) + 2 / 64) < 1e-5, found.values
    assert jax.tree.map(lambda leaf: jax.typeof(leaf[0]).sharding, found.vectors) == placed
"""


def test_explicitly_sharded_parameters_leave_a_saddle_as_they_are_placed():
    done = run_python("-c", _EXPLICIT, XLA_FLAGS=f"{QUICKLY_COMPILED} --xla_force_host_platform_device_count=8")
    assert done.status == 0, done.error[-2000:]
