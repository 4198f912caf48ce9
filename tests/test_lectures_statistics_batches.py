"""Statistics of the experiments on batches, on data with a known answer."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_known.batches import KNOWN
from tricks import losses
from tricks.lectures import batch_time, gradient_noise, large_batch_lamb, sharp_minima


@pytest.fixture(scope="module")
def gradients():
    """Of 40 examples: mean (3, 0, 0), variance 4 + 1 + 0."""
    signs = np.array([[0.0, 2.0, 1.0], [0.0, -2.0, 1.0], [0.0, 2.0, -1.0], [0.0, -2.0, -1.0]])
    return np.tile(signs, (10, 1)) + np.array([[3.0, 0.0, 0.0]])


@pytest.mark.parametrize("replaced", [True, False])
def test_variance_of_a_batch_is_that_of_the_formula(gradients, replaced):
    sizes = [1, 5, 20, 40]
    found = gradient_noise.variances(gradients, sizes, 4000, np.random.default_rng(0), replaced=replaced)
    expected = [5 / size * (1 if replaced else (40 - size) / 39) for size in sizes]
    np.testing.assert_allclose(found, expected, rtol=0.08, atol=1e-12)


def test_variance_is_that_of_batches_that_are_taken_one_by_one(gradients):
    (found,) = gradient_noise.variances(gradients, [3], 5, np.random.default_rng(1), replaced=True)
    rows = np.random.default_rng(1).integers(len(gradients), size=(5, 3))
    means = [gradients[row].mean(0) for row in rows]
    expected = np.mean([np.sum((one - gradients.mean(0)) ** 2) for one in means])
    assert found == pytest.approx(expected, rel=1e-12)


def test_length_over_distance_of_a_zigzag():
    path = np.array([[step, step % 2] for step in range(5)], float)
    assert gradient_noise.length_over_distance(path) == pytest.approx(math.sqrt(2))
    assert gradient_noise.length_over_distance(path[:, :1]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([1.0, 1.0, 1.0], 16), ([1.0, 2.0, 1.0], 1), ([1.0, 1.9, 4.0], 4)],
    ids=["never longer", "longer at once", "longer at the last"],
)
def test_the_largest_batch_that_takes_no_longer(seconds, expected):
    assert batch_time.longest_flat([1, 4, 16], seconds, 2.0) == expected


def test_an_epoch_takes_the_time_of_its_updates():
    judged = batch_time.judge(KNOWN["batch_time"]["supported"])
    # 100 and 1 for an update of one example, 100 and 1024 for one of as many.
    assert judged.details["epoch_ratio"].value == pytest.approx(1024 * 101 / 1124)


def test_an_update_of_examples_one_by_one_is_that_of_the_batch():
    def loss_fn(w, batch):
        return jnp.mean((batch.features @ w - batch.targets) ** 2)

    examples = losses.Batch(jnp.arange(10.0).reshape(5, 2), jnp.arange(5.0))
    one, other = (batch_time.updates(loss_fn, 3, way, jnp.ones(2), examples, 2) for way in (False, True))
    # The second batch begins at example 3 % 3 = 0 again.
    w, x, y = np.ones(2), np.arange(6.0).reshape(3, 2), np.arange(3.0)
    for _ in range(2):
        w = w - 0.01 * 2 / 3 * x.T @ (x @ w - y)
    np.testing.assert_allclose(one, w, rtol=1e-5)
    np.testing.assert_allclose(other, w, rtol=1e-5)


def test_a_barrier_is_measured_from_the_straight_line_between_the_ends():
    alphas = [-0.5, 0.0, 0.25, 0.5, 1.0, 1.5]
    # 3 at a quarter, where the line from 1 to 2 is at 1.25; what lies outside does not count.
    assert sharp_minima.barrier(alphas, [9.0, 1.0, 3.0, 1.5, 2.0, 9.0]) == pytest.approx(1.75)
    assert sharp_minima.barrier(alphas, [9.0, 1.0, 0.5, 0.1, 2.0, 9.0]) == 0


def test_the_best_rate_is_that_of_the_best_mean_not_of_the_best_run():
    assert large_batch_lamb.best_of([[80.0, 82.0], [99.0, 10.0], [81.0, 82.0]]) == 2
    assert large_batch_lamb.best_of([[80.0], [80.0]]) == 0
