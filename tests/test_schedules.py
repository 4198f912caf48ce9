"""Schedules against their formulas, written out in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks.schedules import SHAPES, warmup_decay

PEAK, END, WARMUP, TOTAL = 0.4, 0.01, 5, 50


def _expected(shape: str, t: int, warmup: int) -> float:
    if t < warmup:
        return PEAK * (t + 1) / (warmup + 1)
    t = min(t, TOTAL)
    p, tau = (t - warmup) / (TOTAL - warmup), max(warmup, 1)
    rows = {
        "constant": PEAK,
        "cosine": END + (PEAK - END) * (1 + math.cos(math.pi * p)) / 2,
        "linear": PEAK * (1 - p) + END * p,
        "exponential": PEAK * (END / PEAK) ** p,
        "inverse_time": max(END, PEAK / (1 + (t - warmup) / tau)),
        "inverse_sqrt": max(END, PEAK / math.sqrt(1 + (t - warmup) / tau)),
    }
    assert shape in rows, f"add the formula of {shape} to _expected of tests/test_schedules.py"
    return rows[shape]


@pytest.mark.parametrize("warmup", [0, 1, WARMUP])
@pytest.mark.parametrize("shape", SHAPES)
def test_follows_its_formula(shape, warmup):
    schedule = warmup_decay(PEAK, warmup, TOTAL, END, shape)
    expected = [_expected(shape, t, warmup) for t in range(TOTAL + 10)]
    np.testing.assert_allclose([float(schedule(t)) for t in range(TOTAL + 10)], expected, rtol=2e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.arange(TOTAL + 10)), expected, rtol=2e-6)


def test_without_warmup_the_inverse_shapes_are_the_lectures():
    for t in (0, 3, 24):
        assert float(warmup_decay(1.0, 0, 100, 0.0, "inverse_sqrt")(t)) == pytest.approx(1 / math.sqrt(t + 1))
        assert float(warmup_decay(1.0, 0, 100, 0.0, "inverse_time")(t)) == pytest.approx(1 / (t + 1))


def test_cosine_without_warmup_is_that_of_optax():
    ours, theirs = warmup_decay(PEAK, 0, TOTAL), optax.cosine_decay_schedule(PEAK, TOTAL)
    for t in range(TOTAL + 5):
        assert float(ours(t)) == pytest.approx(float(theirs(t)), rel=1e-5, abs=1e-8)


def test_first_update_is_not_wasted():
    params = jnp.ones(1)
    tx = optax.sgd(warmup_decay(1.0, 9, 20))
    updates, _ = tx.update(params, tx.init(params))
    assert float(updates[0]) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((1.0, 0, 10, 0.0, "steps"), "shape"),
        ((1.0, -1, 10), "warmup_steps"),
        ((1.0, 11, 10), "total_steps"),
        ((1.0, 0, 10, 0.0, "exponential"), "end_value"),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        warmup_decay(*arguments)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_without_steps_to_decay_in_the_peak_stays(shape):
    schedule = warmup_decay(1.0, 10, 10, 0.5, shape)
    assert [round(float(schedule(t)), 4) for t in (9, 10, 11, 100)] == [0.9091, 1, 1, 1]
