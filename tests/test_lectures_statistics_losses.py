"""What the experiments on losses and normalization measure, on data with a known answer."""

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_known.losses import KNOWN
from tricks.data import Dataset, Split
from tricks.lectures import batch_norm, feature_scaling, mse_or_cross_entropy, softmax_sigmoid
from tricks.lectures.common import starts
from tricks.lectures.common.noisy_normalization import covariate_shift, disturbed, forward, noisy_perceptron
from tricks.models import multilayer_perceptron


@pytest.mark.parametrize(
    ("losses", "window", "found"),
    [
        ([5.0, 1.0, 5.0, 1.0, 1.0], 1, 2),
        ([5.0, 1.0, 5.0, 1.0, 1.0], 2, 5),
        ([5.0, math.nan, 1.0, 1.0], 2, 4),
        ([5.0, 1.0, math.inf], 2, None),
        ([0.5], 2, None),
    ],
)
def test_a_loss_has_come_down_when_the_mean_of_its_window_has(losses, window, found):
    assert starts.updates_to(losses, 1.0, window) == found


def test_batches_take_every_example_once_before_any_comes_again():
    rows = starts.batches([3, 4], 10, 3, 7)
    assert rows.shape == (2, 7, 3)
    assert len(set(rows[0, :3].ravel())) == len(set(rows[0, 3:6].ravel())) == 9
    assert (rows[0] != rows[1]).any()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_plain_functions_are_the_perceptron_of_this_package(batch_norm):
    options = {"input_size": 3, "output_size": 2, "hidden_sizes": (5, 4), "batch_norm": batch_norm}
    network = multilayer_perceptron(**options)
    params, state = network.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    x = jax.random.normal(jax.random.key(1), (7, 3))
    outputs, inputs = forward(params, x)
    np.testing.assert_allclose(outputs, network.apply(params, state, x, batch_statistics=True)[0], atol=1e-5)
    assert [one.shape for one in inputs] == [(7, 5), (7, 4)]
    noisy, _ = noisy_perceptron(**options).apply(params, state, x, rng=jax.random.key(2))
    assert float(jnp.max(jnp.abs(noisy - outputs))) > 0.01


def test_noise_gives_each_unit_a_mean_and_a_deviation_of_its_own_at_every_key():
    x = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    one, other = (np.asarray(disturbed(jnp.asarray(x), jax.random.key(seed))) for seed in (0, 1))
    for noisy in (one, other):
        assert (np.abs(noisy.mean(0)) < 0.52).all()
        assert ((noisy.std(0) > 0.99) & (noisy.std(0) < 1.27)).all()
        assert np.ptp(noisy.mean(0)) > 0.1
    assert np.abs(one.mean(0) - other.mean(0)).max() > 0.1


def test_covariate_shift_is_that_of_means_in_deviations_and_of_the_logarithm_of_deviations():
    layer = jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, (500, 4)).astype(np.float32))
    mean, deviation = jnp.mean(layer, 0, keepdims=True), jnp.std(layer, 0, keepdims=True)
    moved = (layer - mean) * 2 + mean + 0.5 * deviation
    assert float(covariate_shift([layer], [layer])) == 0
    assert float(covariate_shift([layer], [moved])) == pytest.approx(0.5 + math.log(2), rel=1e-4)
    assert float(covariate_shift([layer, layer], [moved, layer])) == pytest.approx((0.5 + math.log(2)) / 2, rel=1e-4)


def test_gradients_at_the_corner_are_those_of_the_formulas():
    found = mse_or_cross_entropy.surfaces(2)
    right = 1 / (1 + math.exp(20))
    # d/dy1 of -ln p and of 2 (1 - p)^2, where p = sigma(y1 - y2).
    assert found["cross-entropy"]["gradient"] == pytest.approx(math.sqrt(2) * (1 - right), rel=1e-9)
    assert found["squared error"]["gradient"] == pytest.approx(4 * math.sqrt(2) * right * (1 - right) ** 2, rel=1e-6)
    # Rows are those of y2: the corner of the wrong class is at the top left.
    assert found["cross-entropy"]["losses"][1][0] == pytest.approx(20, rel=1e-6)
    assert found["squared error"]["losses"][0][1] == pytest.approx(0, abs=1e-12)


def test_identities_of_softmax_and_sigmoid_hold_and_those_of_another_loss_do_not(monkeypatch):
    with jax.enable_x64(True):
        x, y = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2))), jnp.asarray([0, 1] * 4)
        assert max(softmax_sigmoid.of_logits(1000).values()) <= 1e-12
        assert max(softmax_sigmoid.of_likelihood(x, y, jnp.ones(2)).values()) <= 1e-12

        def squared(outputs, targets):
            return {"loss": (jax.nn.sigmoid(outputs[:, 0]) - targets) ** 2}

        monkeypatch.setattr(softmax_sigmoid, "sigmoid", squared)
        of_logits, of_likelihood = softmax_sigmoid.of_logits(100), softmax_sigmoid.of_likelihood(x, y, jnp.ones(2))
        assert of_logits["probability"] <= 1e-12
        assert min(of_logits["loss"], of_logits["gradient by the logits"], *of_likelihood.values()) > 0.01


def test_bad_scales_are_the_same_for_all_parts_and_others_for_each_seed():
    ones = Split(np.ones((2, 6), np.float32), np.zeros(2, np.int32))
    data = Dataset("ones", 2, ones, ones, ones, None, None)
    scaled = feature_scaling.badly_scaled(data, 0)
    factors = scaled.train.features[0]
    assert (scaled.test.features == factors).all()
    assert (scaled.validation.features == factors).all()
    assert (factors >= 0.01).all()
    assert (factors <= 100).all()
    assert factors.max() / factors.min() > 10
    assert (feature_scaling.badly_scaled(data, 1).train.features[0] != factors).all()


def _reason(updates: int, place: int, shift: float) -> str:
    """The verdict on it, where the network with noise takes so many updates, works up to that rate, and shifts so."""
    data = copy.deepcopy(KNOWN["batch_norm"]["supported"])
    for of_set in data["runs"]["with, and noise after it"].values():
        of_set["first"] = [[None, updates, None, None]] * 2
        of_set["last"] = [[0.2 if i <= place else None for i in range(4)]] * 2
        of_set["shift"] = [[shift] * 4] * 2
    return batch_norm.judge(data).details["reason"]["badly scaled images"]["verdict"]


@pytest.mark.parametrize(
    ("updates", "place", "shift", "verdict"),
    [
        (50, 3, 0.4, "refuted"),  # It keeps what there was to gain, though all shifts.
        (200, 1, 0.4, "supported"),  # It is as it is without normalization.
        (200, 3, 0.4, "inconclusive"),  # It keeps the rates alone.
        (50, 3, 0.001, "inconclusive"),  # The noise makes no shift, so that nothing follows.
    ],
)
def test_the_reason_is_judged_by_what_noise_leaves_of_the_gain(updates, place, shift, verdict):
    assert _reason(updates, place, shift) == verdict
