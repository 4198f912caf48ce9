"""The statistics of the experiments on optimizers, on data with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_known.optimizers import MORE
from tricks.lectures import (
    adaptive_rates,
    momentum_escapes,
    momentum_weighted_sum,
    rate_decay,
    rmsprop_crescent,
    warmup,
)
from tricks.lectures.common import descent
from tricks.lectures.common import experiment as experiments
from tricks.transforms import momentum


@pytest.mark.parametrize(("name", "verdict", "data"), MORE)
def test_the_rule_finds_the_other_known_answers(name, verdict, data):
    found = experiments.load(name).judge(data)
    assert found.verdict == verdict
    assert found.interval[0] <= found.measured <= found.interval[1]
    assert found.sentence.endswith(".")


def test_following_keeps_what_the_steps_were_made_of():
    way = descent.follow(lambda w, number: w + number, momentum(0.1, 0.5), jnp.array([1.0]), 3)
    # By hand: g = 1, m = -0.1; g = 0.9 + 1, m = -0.05 - 0.19; g = 0.66 + 2, m = -0.12 - 0.266.
    np.testing.assert_allclose(way.gradients.ravel(), [1, 1.9, 2.66], rtol=1e-6)
    np.testing.assert_allclose(way.steps.ravel(), [-0.1, -0.24, -0.386], rtol=1e-6)
    np.testing.assert_allclose(way.points.ravel(), [1, 0.9, 0.66, 0.274], rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "rate", "stays", "expected"),
    [
        (1.0, 0.5, 1, 2),  # 1, 0.5, 0.25
        (0.1, 0.5, 1, 0),
        (1.0, 0.5, 5, 2),
        (1.0, 1.0, 5, 1),
        (1.0, 1e-4, 1, 50),  # Not there.
        (1.0, 1e30, 1, 50),  # To infinity.
    ],
)
def test_updates_until_it_is_there(start, rate, stays, expected):
    def there(w):
        return jnp.abs(w[0]) < 0.3

    counted = descent.updates_until(there, lambda w, _: w, momentum(rate, 0.0), jnp.array([start]), 50, stays=stays)
    assert int(counted) == expected


def test_flying_past_is_not_arriving():
    def there(w):
        # Of 1, 0.5, 0.25, 0.125, ... the second and the fourth.
        return ((w[0] > 0.4) & (w[0] < 0.6)) | ((w[0] > 0.1) & (w[0] < 0.2))

    def count(stays):
        return int(descent.updates_until(there, lambda w, _: w, momentum(0.5, 0.0), jnp.ones(1), 50, stays=stays))

    assert count(1) == 1
    assert count(2) == 50


def test_arriving_with_the_last_update_counts():
    def there(w):
        return w[0] < 0.3

    def count(most, stays):
        return int(descent.updates_until(there, lambda w, _: w, momentum(0.5, 0.0), jnp.ones(1), most, stays=stays))

    # At 2 updates in either case, were there no limit.
    assert [count(2, 1), count(3, 4), count(1, 1)] == [2, 2, 1]


def test_sums_of_two_gradients_by_hand():
    gradients = np.array([[1.0, -2.0], [3.0, 4.0], [0.0, 1.0]])
    sums = momentum_weighted_sum.weighted_sums(gradients, np.array([0.1, 0.2, 0.3]), 0.5)
    np.testing.assert_allclose(sums, [[-0.1, 0.2], [-0.65, -0.7], [-0.325, -0.65]], rtol=1e-14)
    # 0 to the power of 0 is 1: the gradient of the update itself.
    np.testing.assert_allclose(momentum_weighted_sum.weighted_sums(gradients, np.full(3, 0.1), 0.0), -0.1 * gradients)


def test_slopes_are_those_of_the_curves():
    place, width, rise = 1.5, 0.2, 1.3

    def dented(x):
        depth = rise * (place + width) * width * np.exp(0.5)
        return x**2 / 2 - depth * np.exp(-((x + place) ** 2) / (2 * width**2))

    x = np.linspace(-3, 1, 9)
    numeric = (dented(x + 1e-5) - dented(x - 1e-5)) / 2e-5
    with jax.enable_x64(True):
        np.testing.assert_allclose(momentum_escapes.minimum(x, (place, width, rise)), numeric, rtol=1e-6, atol=1e-8)
        flat = momentum_escapes.plateau(np.array([-3.0, -1.0, 2.0]), (0.5, 1.0, -3.0))
    np.testing.assert_allclose(flat, [-3, -1e-3, 2], rtol=0.1)


def test_every_dent_is_a_minimum_above_the_goal():
    places = np.linspace(-3, 3, 6001)
    for form in np.stack(np.meshgrid(*momentum_escapes._FORMS["minimum"]), -1).reshape(-1, 3):
        slopes = np.asarray(momentum_escapes.minimum(places, form))
        top = momentum_escapes.hilltop(places, slopes)
        assert -3 < top < 0
        height = np.cumsum(slopes) * (places[1] - places[0])
        bottom = np.argmin(np.where(places < top, height, np.inf))
        assert -3 < places[bottom] < top
        assert height[bottom] > height[np.abs(places).argmin()]


def test_the_hilltop_is_behind_the_first_minimum():
    places = np.linspace(-3, 3, 601)
    # Down to -2, up to -1, down to 0, up.
    slopes = (places + 2) * (places + 1) * places
    assert momentum_escapes.hilltop(places, slopes) == pytest.approx(-1, abs=0.02)
    assert momentum_escapes.hilltop(places, places) == -3


def test_what_momentum_gains():
    rates = 10 ** np.linspace(-2, 0.5, 26)
    decays = len(momentum_escapes._DECAYS)
    curve = np.zeros((26, decays), int)
    curve[15:, 0] = 1  # Plain descent crosses from number 15 on, so it stops with the first 15.
    curve[10:, momentum_escapes._USUAL] = 1
    curve[5:, -1] = 1
    nothing = np.ones((26, decays), int)
    (gain,) = momentum_escapes.gained([curve.tolist(), nothing.tolist()], rates.tolist())
    # All tenfold rates, number 10 to 24, are in the grid; 15 to 24 cross.
    assert gain == pytest.approx((5 / 15, 10 / 15, 5 / 15, 10 / 15))
    curve[15:20, 0] = 0  # Of these the numbers 16 to 19 have no tenfold rate.
    (gain,) = momentum_escapes.gained([curve.tolist()], rates.tolist())
    assert gain == pytest.approx((10 / 20, 15 / 20, 6 / 16, 6 / 16))


def test_a_turned_bowl_is_the_same_bowl():
    start = jnp.array([3.0, 0.5])
    for turn in (0.0, 0.7):
        gradient, first = adaptive_rates.bowl(jnp.float32(100), start, turn)
        assert float(jnp.linalg.norm(first)) == pytest.approx(float(jnp.linalg.norm(start)), rel=1e-6)
        # Twice its loss is w . g for any quadratic form: 9 + 100 / 4.
        assert float(first @ gradient(first, 0)) == pytest.approx(34, rel=1e-5)


def test_one_rate_for_all_is_not_the_best_of_one():
    # Of the second run the first rate is the best, of all the second.
    assert descent.best_of_rates([[500, 10], [1, 20]]) == 1
    assert descent.best_of_rates([[5, 5]]) == 0


def test_a_burst_counts_once_it_was_quiet():
    assert rate_decay.burst(np.array([1, 0.5, 0.02, 0.005, 0.3, 0.1])) == 0.3
    assert rate_decay.burst(np.array([1, 0.5, 0.009, 0.005, 0.001])) == 0.009
    assert rate_decay.burst(np.array([1, 1.4, 0.9])) == 1.4


def test_misfit_of_a_sigma_that_follows_and_of_one_that_does_not():
    gradients = np.repeat([[4.0, 1.0]], 50, axis=0) * np.where(np.arange(50) % 2, 1, -1)[:, None]
    assert rmsprop_crescent.misfit(gradients, np.abs(gradients)) == pytest.approx(0, abs=1e-12)
    assert rmsprop_crescent.misfit(gradients, 3 * np.abs(gradients)) == pytest.approx(np.log(3))
    unknown = np.where(np.arange(50)[:, None] < 5, np.nan, np.abs(gradients) / 2)
    assert rmsprop_crescent.misfit(gradients, unknown) == pytest.approx(np.log(2))


def test_spread_of_averages_of_noise():
    random = np.random.default_rng(0)
    squares = np.cumsum(random.normal(size=(30, 20, 300)) ** 2, axis=1)
    found = warmup.spread(squares)
    # Half of the root of the trigamma function at t / 2, as of the logarithm of a chi square of t degrees.
    assert found[0] == pytest.approx(1.11, rel=0.1)
    assert found[-1] == pytest.approx(0.162, rel=0.1)
    corrected = squares / np.arange(1, 21)[None, :, None]
    np.testing.assert_allclose(warmup.spread(corrected), found, rtol=1e-9)
    squares[0, 0, :100] = 0  # Of weights without a gradient nothing is counted.
    np.testing.assert_allclose(warmup.spread(squares), warmup.spread(squares[:, :, 100:]))


def test_the_largest_usable_rate():
    rates = [0.001, 0.01, 0.1]
    accuracy = [[[0.9, 0.2], [0.88, 0.95], [0.1, 0.89]], [[0.7, 0.91], [0.7, 0.89], [0.8, 0.7]]]
    # Within 0.05 of 0.9 and of 0.95; with the second setting the first seed has none.
    np.testing.assert_allclose(warmup.largest_usable(accuracy, rates), [[0.01, 0.01], [0.001, 0.001]])
    accuracy[0][2][1] = 0.901
    assert warmup.largest_usable(accuracy, rates)[0, 1] == 0.1
