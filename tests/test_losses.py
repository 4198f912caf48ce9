"""Losses against NumPy in float64, and the identities the lectures state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import losses
from tricks.models import Network
from tricks.training import evaluation
from tricks.training.state import Weights

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(0, 3, (50, 4)).astype(np.float32)
TARGETS = RNG.integers(0, 4, 50).astype(np.int32)


def _softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _pair(measures):
    return measures["loss"], measures["accuracy"]


def test_cross_entropy():
    loss, accuracy = _pair(losses.cross_entropy(OUTPUTS, TARGETS))
    p = _softmax(OUTPUTS.astype(np.float64))
    np.testing.assert_allclose(loss, -np.log(p[np.arange(50), TARGETS]), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(accuracy, OUTPUTS.argmax(axis=1) == TARGETS)


def test_softmax_squared_error():
    loss, accuracy = _pair(losses.softmax_squared_error(OUTPUTS, TARGETS))
    expected = np.square(np.eye(4)[TARGETS] - _softmax(OUTPUTS.astype(np.float64))).sum(axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(accuracy, OUTPUTS.argmax(axis=1) == TARGETS)


def test_sigmoid_is_softmax_over_two_classes():
    targets = TARGETS % 2
    logit = OUTPUTS[:, :1]
    loss, accuracy = _pair(losses.sigmoid(logit, targets))
    two = np.concatenate([np.zeros_like(logit), logit], axis=1)
    same_loss, same_accuracy = _pair(losses.cross_entropy(two, targets))
    np.testing.assert_allclose(loss, same_loss, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(accuracy, same_accuracy)


def test_squared_error():
    targets = RNG.normal(size=50).astype(np.float32)
    measures = losses.squared_error(OUTPUTS[:, :1], targets)
    assert list(measures) == ["loss"], "a regression has no accuracy"
    np.testing.assert_allclose(measures["loss"], (OUTPUTS[:, 0] - targets) ** 2, rtol=1e-6)


def test_a_loss_names_its_measures_and_counts_its_outputs():
    for name, loss in losses.LOSSES.items():
        targets = TARGETS[:, None][:, 0] % 2
        outputs = OUTPUTS[:, :1] if name in ("sigmoid", "squared_error") else OUTPUTS[:, :2]
        assert tuple(losses.loss_first(loss(outputs, targets))) == loss.names, name
        assert all(measure.shape == (50,) for measure in loss(outputs, targets).values())
    assert [losses.named(name).count_outputs(2) for name in ("cross_entropy", "softmax_squared_error", "sigmoid")] == [
        2,
        2,
        1,
    ]
    assert losses.named("squared_error").count_outputs(None) == 1


@pytest.mark.parametrize(
    ("name", "classes", "said"),
    [
        ("cross_entropy", None, "takes classes, and the targets are numbers: choose squared_error"),
        ("softmax_squared_error", None, "takes classes"),
        ("sigmoid", None, "takes classes"),
        ("sigmoid", 3, "takes 2 classes, and the targets have 3 classes: choose cross_entropy"),
        ("squared_error", 2, "takes numbers, and the targets are 2 classes: choose cross_entropy"),
    ],
)
def test_a_loss_refuses_targets_that_it_cannot_take(name, classes, said):
    with pytest.raises(ValueError, match=said):
        losses.named(name).count_outputs(classes)


def test_far_wrong_squared_error_has_a_flat_gradient_where_cross_entropy_has_not():
    def slope(measure):
        outputs = jnp.array([[20.0, 0.0]])
        return float(jnp.linalg.norm(jax.grad(lambda z: measure(z, jnp.array([1]))["loss"][0])(outputs)))

    assert slope(losses.cross_entropy) > 1
    assert slope(losses.softmax_squared_error) < 1e-6


@pytest.mark.parametrize("outputs", [1e4, -1e4])
def test_extreme_outputs_stay_finite(outputs):
    extreme = jnp.array([[outputs, 0.0]])
    for measure in (losses.cross_entropy, losses.softmax_squared_error):
        assert np.isfinite(measure(extreme, jnp.array([1]))["loss"]).all()
    assert np.isfinite(losses.sigmoid(extreme[:, :1], jnp.array([1]))["loss"]).all()


@pytest.mark.parametrize("measures", [{"accuracy": 1.0}, {"loss": 1.0, "extra": 1.0}, {"loss": 1.0}])
def test_a_loss_gives_the_measures_that_it_names(measures):
    loss = losses.Loss(lambda outputs, targets: measures, ("loss", "accuracy"), lambda classes: 1)
    with pytest.raises(ValueError, match=r"measures are .* and names loss, accuracy; allowed: the same ones"):
        loss(OUTPUTS, TARGETS)
    without = losses.Loss(lambda outputs, targets: {"accuracy": 1.0}, ("accuracy",), lambda classes: 1)
    with pytest.raises(ValueError, match="with loss among them"):
        without(OUTPUTS, TARGETS)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_means_of_measures_in_half_precision_have_all_digits(dtype):
    def absolute(outputs, targets):
        error = jnp.abs(outputs[:, 0].astype(dtype) - targets.astype(dtype))
        return {"loss": error, "far": (error > 100).astype(dtype), "targets": targets}

    # A thousand of them sum to 1e5: above the largest float16, and a bfloat16 steps by 512 there.
    batch = losses.Batch(RNG.normal(size=(1000, 1)).astype(np.float32), RNG.integers(80, 120, 1000))
    loss = losses.from_function(absolute, batch.features, batch.targets)
    expected = {
        name: np.asarray(each, np.float64).mean() for name, each in absolute(batch.features, batch.targets).items()
    }

    def apply(params, state, x, *, rng=None, batch_statistics=None):
        return x * params, state

    (value, (_, means)), slope = jax.value_and_grad(losses.mean_loss(apply, loss), has_aux=True)(1.0, {}, batch, None)
    assert value.dtype == jnp.float32
    assert {name: float(mean) for name, mean in means.items()} == pytest.approx(expected, rel=1e-6)
    assert float(slope) == pytest.approx(-batch.features.mean(dtype=float), rel=1e-2, abs=1e-3)
    assert float(losses.objective(apply, loss, {})(1.0, batch)) == pytest.approx(expected["loss"], rel=1e-6)
    network, block = (
        Network(None, apply),
        evaluation.Block(losses.Batch(*(a[None] for a in batch[:2])), np.ones((1, 1000))),
    )
    sums = evaluation.sums(network, loss, Weights(1.0, {}), block)
    assert {name: float(part[0]) / 1000 for name, part in sums.items()} == pytest.approx(expected, rel=1e-6)
