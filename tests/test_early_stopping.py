"""Early stopping, also inside jit and with values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import early_stopping


def _run(values, min_delta=0.0):
    state, improvements = early_stopping.init(), []
    for step, value in enumerate(values):
        state, improved = jax.jit(early_stopping.update)(state, value, step, min_delta)
        improvements.append(bool(improved))
    return state, improvements


def test_counts_checks_since_the_best():
    state, improved = _run([3.0, 2.0, 2.5, 2.0, 1.9])
    assert improved == [True, True, False, False, True]
    assert (int(state.best_step), int(state.checks_since_best)) == (4, 0)
    assert float(state.best_value) == pytest.approx(1.9)


def test_small_improvements_do_not_count():
    state, improved = _run([1.0, 0.95, 0.91, 0.85], min_delta=0.1)
    assert improved == [True, False, False, True]
    assert int(state.best_step) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_never_the_best(bad):
    state, improved = _run([bad, 2.0, bad, 1.0])
    assert improved == [False, True, False, True]
    assert float(state.best_value) == 1.0


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_stops_at_the_check_that_exhausts_patience(patience):
    state, _ = _run([1.0] + [2.0] * (patience - 1))
    assert not early_stopping.should_stop(state, patience)
    state, _ = _run([1.0] + [2.0] * patience)
    assert early_stopping.should_stop(state, patience)


def test_patience_of_zero_never_stops():
    state, _ = _run([1.0] + [2.0] * 100)
    assert not early_stopping.should_stop(state, 0)


def test_usable_inside_a_scan():
    def body(state, x):
        state, improved = early_stopping.update(state, x, 0)
        return state, improved

    _, improved = jax.lax.scan(body, early_stopping.init(), jnp.array([2.0, jnp.nan, 1.0]))
    assert improved.tolist() == [True, False, True]
