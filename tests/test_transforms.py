"""Optimizers against NumPy traces of the lectures' formulas, and against optax where the definitions coincide."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks import transforms
from tricks.schedules import warmup_decay
from tricks.training import optimizer

STEPS, RATE = 50, 0.05
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 6))
START = np.random.default_rng(1).normal(size=6)


def _falling(t):
    return RATE / np.sqrt(t + 1)


def _momentum(rate, decay=0.9, nesterov=False):
    theta, m, trace = START.copy(), np.zeros(6), []
    for t, g in enumerate(GRADIENTS):
        m = decay * m - rate(t) * g
        theta = theta + (decay * m - rate(t) * g if nesterov else m)
        trace.append(theta)
    return trace


def _root_mean_square(rate):
    theta, trace = START.copy(), []
    for t, g in enumerate(GRADIENTS):
        sigma = np.sqrt(np.mean(GRADIENTS[: t + 1] ** 2, axis=0))
        theta = theta - rate(t) / sigma * g
        trace.append(theta)
    return trace


def _rmsprop(rate, alpha=0.9):
    theta, sigma, trace = START.copy(), None, []
    for t, g in enumerate(GRADIENTS):
        sigma = np.abs(g) if sigma is None else np.sqrt(alpha * sigma**2 + (1 - alpha) * g**2)
        theta = theta - rate(t) / sigma * g
        trace.append(theta)
    return trace


def _adam(rate, b1=0.9, b2=0.999, eps=1e-8):
    theta, m, v, trace = START.copy(), 0.0, 0.0, []
    for t, g in enumerate(GRADIENTS, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        theta = theta - rate(t - 1) * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        trace.append(theta)
    return trace


CASES = [
    (transforms.momentum, {}, _momentum, {}),
    (transforms.momentum, {"nesterov": True}, _momentum, {"nesterov": True}),
    (transforms.root_mean_square, {"eps": 0.0}, _root_mean_square, {}),
    (transforms.rmsprop, {"eps": 0.0}, _rmsprop, {}),
    (transforms.adam, {}, _adam, {}),
]
IDS = ["momentum", "nesterov", "root_mean_square", "rmsprop", "adam"]


def _trace(tx):
    theta = jnp.asarray(START)
    state = tx.init(theta)
    update = jax.jit(tx.update)
    for g in GRADIENTS:
        updates, state = update(jnp.asarray(g), state, theta)
        theta = optax.apply_updates(theta, updates)
        yield np.asarray(theta)


@pytest.mark.parametrize(("make", "options", "formula", "formula_options"), CASES, ids=IDS)
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-6), (True, 1e-12)])
def test_follows_the_lectures(make, options, formula, formula_options, scheduled, x64, tolerance):
    expected = formula(_falling if scheduled else lambda t: RATE, **formula_options)
    with jax.enable_x64(x64):
        rate = (lambda t: RATE / jnp.sqrt(t.astype(float) + 1)) if scheduled else RATE
        np.testing.assert_allclose(list(_trace(make(rate, **options))), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (transforms.momentum(RATE), optax.sgd(RATE, 0.9)),
        (transforms.momentum(RATE, nesterov=True), optax.sgd(RATE, 0.9, nesterov=True)),
        (transforms.momentum(RATE, decay=0.0), optax.sgd(RATE)),
        (transforms.adam(RATE), optax.adam(RATE)),
        (transforms.adam(warmup_decay(RATE, 3, 40)), optax.adam(warmup_decay(RATE, 3, 40))),
    ],
)
def test_equals_optax_where_the_definitions_coincide(ours, theirs):
    with jax.enable_x64(True):
        np.testing.assert_allclose(list(_trace(ours)), list(_trace(theirs)), rtol=1e-12, atol=1e-12)


def test_root_mean_square_is_the_rss_of_optax_times_the_root_of_the_count():
    ours, theirs = transforms.scale_by_root_mean_square(eps=0.0), optax.scale_by_rss(0.0, 0.0)
    ours_state, theirs_state = ours.init(jnp.zeros(6)), theirs.init(jnp.zeros(6))
    for t, g in enumerate(GRADIENTS.astype(np.float32)):
        a, ours_state = ours.update(jnp.asarray(g), ours_state)
        b, theirs_state = theirs.update(jnp.asarray(g), theirs_state)
        np.testing.assert_allclose(a, b * np.sqrt(t + 1), rtol=1e-4)


def test_momentum_under_a_schedule_differs_from_optax_as_stated():
    # optax applies the current rate to all of m; here each gradient keeps the rate it came with.
    def rate(t):
        return jnp.where(t == 0, 1.0, 0.0)

    gradients = jnp.ones(1)
    for tx, second in ((transforms.momentum(rate), -0.9), (optax.sgd(rate, 0.9), 0.0)):
        state = tx.init(gradients)
        _, state = tx.update(gradients, state)
        assert tx.update(gradients, state)[0].item() == pytest.approx(second)


@pytest.mark.parametrize("make", [transforms.root_mean_square, transforms.rmsprop, transforms.adam])
def test_zero_gradients_give_zero_updates(make):
    tx = make(0.1)
    updates, _ = tx.update(jnp.zeros(3), tx.init(jnp.zeros(3)))
    assert not updates.any()


PARAMS = {
    "linear": {"kernel": jnp.full((2, 3), -2.0), "bias": jnp.full(3, 5.0)},
    "norm": {"scale": jnp.full(3, 5.0), "bias": jnp.full(3, 5.0)},
    "stacked": {"bias": jnp.full((4, 3), 5.0)},
}


def test_weights_only_marks_weights():
    assert transforms.weights_only(PARAMS) == {
        "linear": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "stacked": {"bias": False},
    }
    assert transforms.weights_only(jnp.ones(())) is False
    assert transforms.weights_only([jnp.ones((2, 2)), None]) == [True, None]


@pytest.mark.parametrize(
    ("decay", "after_one"),
    [(transforms.add_l2_decay, -2.0 * (1 - 0.1 * 0.5)), (transforms.add_l1_decay, -2.0 + 0.1 * 0.5)],
)
def test_decay_moves_weights_as_in_the_lectures_and_nothing_else(decay, after_one):
    tx = optax.chain(decay(0.5), transforms.momentum(0.1, decay=0.0))
    params, state = PARAMS, tx.init(PARAMS)
    for i in range(100):
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
        params = optax.apply_updates(params, updates)
        if i == 0:
            np.testing.assert_allclose(params["linear"]["kernel"], after_one, rtol=1e-6)
    for path in (("linear", "bias"), ("norm", "scale"), ("norm", "bias"), ("stacked", "bias")):
        np.testing.assert_array_equal(params[path[0]][path[1]], PARAMS[path[0]][path[1]])


def test_decay_strength_may_be_a_schedule():
    tx = transforms.add_l2_decay(lambda t: jnp.where(t == 0, 0.0, 1.0), mask=None)
    params = jnp.full(2, 3.0)
    first, state = tx.update(jnp.zeros(2), tx.init(params), params)
    second, _ = tx.update(jnp.zeros(2), state, params)
    assert (first.tolist(), second.tolist()) == ([0, 0], [3, 3])


def test_decay_without_params_says_so():
    tx = transforms.add_l2_decay(0.1)
    with pytest.raises(ValueError, match="params is None"):
        tx.update(jnp.ones((2, 2)), tx.init(jnp.ones((2, 2))))


@pytest.mark.parametrize("name", ["momentum", "root_mean_square", "rmsprop", "adam"])
def test_current_learning_rate_is_that_of_the_last_update(name):
    schedule = warmup_decay(0.1, 3, 10)
    tx = optimizer.make(name, schedule, l1=1e-3, l2=1e-3)
    state = tx.init(PARAMS)
    assert float(transforms.current_learning_rate(state)) == pytest.approx(float(schedule(0)))
    for t in range(5):
        _, state = tx.update(PARAMS, state, PARAMS)
        assert float(transforms.current_learning_rate(state)) == pytest.approx(float(schedule(t)))


def test_no_learning_rate_in_the_state_says_so():
    with pytest.raises(ValueError, match="0 learning rates"):
        transforms.current_learning_rate(optax.sgd(0.1).init(PARAMS))


def test_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match="name is 'sgd'"):
        optimizer.make("sgd", 0.1)


@pytest.mark.parametrize("name", ["momentum", "root_mean_square", "rmsprop", "adam"])
def test_descends_a_parabola_in_a_scan(name):
    tx = optimizer.make(name, warmup_decay(0.3, 5, 300))

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(2 * params, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.array([3.0, -4.0])
    (params, _), _ = jax.lax.scan(body, (start, tx.init(start)), None, length=300)
    assert abs(params).max() < 0.02


@pytest.mark.parametrize("make", [transforms.momentum, transforms.rmsprop, transforms.adam])
def test_the_second_update_is_not_compiled_again(make):
    tx = make(0.1)
    update = jax.jit(tx.update)
    _, state = update(jnp.ones(3), tx.init(jnp.ones(3)))
    update(jnp.ones(3), state)
    assert update._cache_size() == 1
