"""Losses against NumPy in float64, and the identities the lectures state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import losses

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(0, 3, (50, 4)).astype(np.float32)
TARGETS = RNG.integers(0, 4, 50).astype(np.int32)


def _softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_cross_entropy():
    loss, accuracy = losses.cross_entropy(OUTPUTS, TARGETS)
    p = _softmax(OUTPUTS.astype(np.float64))
    np.testing.assert_allclose(loss, -np.log(p[np.arange(50), TARGETS]), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(accuracy, OUTPUTS.argmax(axis=1) == TARGETS)


def test_softmax_squared_error():
    loss, accuracy = losses.softmax_squared_error(OUTPUTS, TARGETS)
    expected = np.square(np.eye(4)[TARGETS] - _softmax(OUTPUTS.astype(np.float64))).sum(axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(accuracy, OUTPUTS.argmax(axis=1) == TARGETS)


def test_sigmoid_is_softmax_over_two_classes():
    targets = TARGETS % 2
    logit = OUTPUTS[:, :1]
    loss, accuracy = losses.sigmoid(logit, targets)
    two = np.concatenate([np.zeros_like(logit), logit], axis=1)
    same_loss, same_accuracy = losses.cross_entropy(two, targets)
    np.testing.assert_allclose(loss, same_loss, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(accuracy, same_accuracy)


def test_squared_error():
    targets = RNG.normal(size=50).astype(np.float32)
    loss, accuracy = losses.squared_error(OUTPUTS[:, :1], targets)
    np.testing.assert_allclose(loss, (OUTPUTS[:, 0] - targets) ** 2, rtol=1e-6)
    assert np.isnan(accuracy).all()


def test_far_wrong_squared_error_has_a_flat_gradient_where_cross_entropy_has_not():
    def slope(measure):
        outputs = jnp.array([[20.0, 0.0]])
        return float(jnp.linalg.norm(jax.grad(lambda z: measure(z, jnp.array([1]))[0][0])(outputs)))

    assert slope(losses.cross_entropy) > 1
    assert slope(losses.softmax_squared_error) < 1e-6


@pytest.mark.parametrize("outputs", [1e4, -1e4])
def test_extreme_outputs_stay_finite(outputs):
    extreme = jnp.array([[outputs, 0.0]])
    for measure in (losses.cross_entropy, losses.softmax_squared_error):
        assert np.isfinite(measure(extreme, jnp.array([1]))[0]).all()
    assert np.isfinite(losses.sigmoid(extreme[:, :1], jnp.array([1]))[0]).all()
