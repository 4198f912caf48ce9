"""Statistics of the experiments on regularization, on data with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks.data import Split, load
from tricks.lectures import bias_or_optimization
from tricks.lectures.common import causes, decays, thinned
from tricks.lectures.common.decays import Strengths
from tricks.models import multilayer_perceptron
from tricks.training.state import Weights


def test_weights_are_counted_by_their_size():
    found = decays.spread(np.array([0.0, 0.0, 1e-9, -0.009, 0.5, -5.0, 50.0, 0.02]))
    assert found["zero"] == 2 / 8
    assert found["near"] == 4 / 8
    # From -7 in steps of a quarter: 1e-9 at the lower end, 50 at the upper one.
    expected = {0: 1, 19: 1, 21: 1, 26: 1, 30: 1, 31: 1}
    assert {place: round(8 * share) for place, share in enumerate(found["bins"]) if share} == expected


def test_the_sparse_truth_has_the_norm_of_the_dense_one():
    sparse, dense = (decays.linear_data(kind, 3) for kind in (True, False))
    assert np.count_nonzero(sparse["weights"]) == decays.NOT_ZERO
    assert np.count_nonzero(dense["weights"]) == decays.COEFFICIENTS
    for made in (sparse, dense):
        assert np.linalg.norm(made["weights"]) == pytest.approx(2.0)
        rest = made["y"] - made["x"] @ made["weights"]
        assert np.mean(rest) == pytest.approx(3.0, abs=0.25)
        assert np.std(rest) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        (Strengths(), [1.5, 0.0]),
        (Strengths(sign=0.5), [1.45, -0.05]),
        (Strengths(soft=0.5), [1.45, 0.0]),
        (Strengths(l2=0.5), [1.4, -0.0025]),
    ],
)
def test_each_decay_makes_the_step_of_its_formula(strengths, expected):
    # The gradient alone takes 2 to 1.5, and .05 to 0; the sign takes .05 more, and passes 0.
    params, gradient = jnp.array([2.0, 0.05]), jnp.array([5.0, 0.5])
    tx = decays.optimizer(0.1, strengths, mask=None)
    updates, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_allclose(params + updates, expected, atol=1e-7)


def test_l2_comes_to_the_ridge_solution():
    strength, draws = 0.3, [5]
    _, new = decays.linear_errors(False, draws, Strengths(*jnp.zeros((2, 1)), jnp.array([strength])), steps=3000)
    made = decays.linear_data(False, draws[0])
    x, y = made["x"][: decays.EXAMPLES].astype(np.float64), made["y"][: decays.EXAMPLES].astype(np.float64)
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x) + strength * np.eye(decays.COEFFICIENTS)
    weights = np.linalg.solve(covariance, centred.T @ (y - y.mean()) / len(x))
    bias = y.mean() - x.mean(0) @ weights
    expected = np.sum(np.square(weights - made["weights"])) + (bias - 3.0) ** 2
    assert new[0, 0] == pytest.approx(expected, rel=1e-3)


def _dropping():
    network = multilayer_perceptron(input_size=4, output_size=3, hidden_sizes=(8,), dropout=0.5)
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    # Each example twice, so that a mask of its own for each would show.
    return network, Weights(*network.init(jax.random.key(0))), Split(np.repeat(x, 2, axis=0), np.arange(12) % 3)


def test_a_sampled_network_drops_the_same_units_for_all_examples_and_averages_are_of_probabilities():
    network, weights, split = _dropping()
    keys = jax.random.split(jax.random.key(1), 3)
    alone, average = thinned.sampled(network.apply, weights, split, keys)
    of_row = jax.jit(lambda row, key: network.apply(weights.params, {}, row[None], rng=key)[0][0])
    outputs = np.array([[of_row(row, key) for row in split.features] for key in keys], np.float64)
    probabilities = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    for number in range(3):
        for found, expected in (
            (alone, probabilities[number]),
            (average, probabilities[: number + 1].mean(0)),
        ):
            right = expected[np.arange(12), split.targets]
            assert found.loss[number] == pytest.approx(-np.mean(np.log(right)), rel=1e-5)
            assert found.error[number] == pytest.approx(
                100 * np.mean(np.argmax(expected, 1) != split.targets), rel=1e-5
            )
    # They are other networks, and no one of them is the whole.
    assert len({*alone.loss, thinned.whole(network.apply, weights, split, most=12).loss}) == 4


def test_the_whole_network_is_measured_on_the_first_examples():
    network, weights, split = _dropping()
    outputs = np.asarray(network.apply(weights.params, weights.model_state, split.features[:5])[0], np.float64)
    right = outputs[np.arange(5), split.targets[:5]] - np.log(np.exp(outputs).sum(1))
    assert thinned.whole(network.apply, weights, split, most=5).loss == pytest.approx(-right.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("errors", "scaled", "expected"), [([3, 2, 1.5, 1.7], 1.5, 3), ([3, 2], 4, 1), ([3, 2], 1, None)]
)
def test_networks_are_counted_until_their_average_does_as_well(errors, scaled, expected):
    assert thinned.networks_to_match(errors, scaled) == expected


@pytest.mark.parametrize(
    ("losses", "smaller", "larger", "expected"),
    [
        ((1.0, 1.0, 1.0), [2.0], [0.6], "model bias"),
        ((1.0, 1.0, 1.0), [0.6], [2.0], "optimization"),
        # Of both kinds the better one tells.
        ((1.0, 1.0, 1.0), [0.5], [0.4], "model bias"),
        ((1.0, 9.0, 9.0), [0.6], [], "optimization"),
        # Two thirds, or .03 less, is no large loss.
        ((1.0, 1.0, 1.0), [0.67], [], "no fault"),
        ((0.02, 0.1, 0.1), [0.001], [], "no fault"),
        ((0.1, 0.31, 0.31), [1.0], [], "overfitting"),
        ((0.1, 0.29, 0.48), [1.0], [], "no fault"),
        ((0.1, 0.29, 0.5), [1.0], [], "mismatch"),
        # What overfits may also match badly; the first question decides.
        ((0.1, 0.5, 2.0), [1.0], [], "overfitting"),
    ],
)
def test_the_questions_are_asked_in_the_order_of_the_lecture(losses, smaller, larger, expected):
    assert causes.cause(*losses, smaller=smaller, larger=larger) == expected


def test_what_diverged_is_worse_than_all_else():
    row = causes._measured({"status": "diverged", "train_loss": [2.0]}, 3)
    assert row["curve"] == [1000.0] * 3
    assert causes.cause(row["train"], row["validation"], row["test"], smaller=[2.0], larger=[]) == "optimization"


def test_only_test_images_are_turned():
    data = load("digits")
    turned = bias_or_optimization._turned(data)
    assert turned.train is data.train
    assert turned.validation is data.validation
    np.testing.assert_array_equal(turned.test.features[5, 0, :, 0], data.test.features[5, :, -1, 0])
