"""Statistics of the experiments on batches, on data with a known answer."""

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import run_python
from lectures_known.batches import KNOWN, SECOND
from tricks import losses, models
from tricks.config import Config
from tricks.data import Split
from tricks.lectures import batch_time, gradient_noise, large_batch_lamb, sharp_minima
from tricks.lectures.common import batch_gradients, ends, experiment, noisy_normalization, paths, training, update_times
from tricks.training.state import Weights, weights


@pytest.fixture(scope="module")
def gradients():
    """Of 40 examples: mean (3, 0, 0), variance 4 + 1 + 0."""
    signs = np.array([[0.0, 2.0, 1.0], [0.0, -2.0, 1.0], [0.0, 2.0, -1.0], [0.0, -2.0, -1.0]])
    return np.tile(signs, (10, 1)) + np.array([[3.0, 0.0, 0.0]])


@pytest.mark.parametrize("replaced", [True, False])
def test_variance_of_a_batch_is_that_of_the_formula(gradients, replaced):
    sizes = [1, 5, 20, 40]
    found = batch_gradients.variances_of_means(gradients, sizes, 4000, np.random.default_rng(0), replaced=replaced)
    expected = [5 / size * (1 if replaced else (40 - size) / 39) for size in sizes]
    np.testing.assert_allclose(found, expected, rtol=0.08, atol=1e-12)


def test_variance_is_that_of_batches_that_are_taken_one_by_one(gradients):
    (found,) = batch_gradients.variances_of_means(gradients, [3], 5, np.random.default_rng(1), replaced=True)
    rows = np.random.default_rng(1).integers(len(gradients), size=(5, 3))
    means = [gradients[row].mean(0) for row in rows]
    expected = np.mean([np.sum((one - gradients.mean(0)) ** 2) for one in means])
    assert found == pytest.approx(expected, rel=1e-12)


def test_variance_over_draws_is_without_bias():
    generator = np.random.default_rng(0)
    leaves = {"kernel": generator.normal(3, 2, (5, 4, 3)), "bias": generator.normal(size=(5, 2))}
    expected = sum(np.var(leaf, axis=0, ddof=1).sum() for leaf in leaves.values())
    assert batch_gradients.spread(leaves) == pytest.approx(expected, rel=1e-12)
    # Distances 2, 0, 2 from the mean: 8 over two.
    assert batch_gradients.spread(np.array([[0.0], [2.0], [4.0]])) == 4


def test_variance_of_drawn_batches_is_that_of_a_set_without_end(gradients):
    sizes, generator = [4, 20, 39], np.random.default_rng(0)
    found = batch_gradients.variances_of_batches(lambda rows: gradients[rows].mean(1), 40, sizes, 4000, generator)
    np.testing.assert_allclose(found, [5 / size for size in sizes], rtol=0.08)


def test_the_gradient_of_a_real_batch_has_the_statistics_of_the_batch():
    network = models.multilayer_perceptron(input_size=3, output_size=2, hidden_sizes=(4,), batch_norm=True)
    params, state = network.init(jax.random.key(0))
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(6, 3)).astype(np.float32), np.array([0, 1, 0, 1, 1, 0], np.int32)
    gradients, descend = batch_gradients.as_training(network, Split(x, y), 0.5)

    def by_hand(params, rows):
        def loss(params):
            outputs, _ = noisy_normalization.forward(params, x[rows])
            return -jnp.mean(jax.nn.log_softmax(outputs)[np.arange(len(rows)), y[rows]])

        return jax.grad(loss)(params)

    rows = np.array([[0, 1, 2, 3], [2, 5, 4, 1]])
    expected = [by_hand(params, row) for row in rows]
    jax.tree.map(
        lambda found, *each: np.testing.assert_allclose(found, np.stack(each), rtol=1e-4, atol=1e-6),
        gradients(params, state, rows),
        *expected,
    )
    for row in rows:
        params = jax.tree.map(lambda w, g: w - 0.5 * g, params, by_hand(params, row))
    first, _ = network.init(jax.random.key(0))
    jax.tree.map(
        lambda found, w: np.testing.assert_allclose(found, w, rtol=1e-4, atol=1e-5),
        descend(first, state, rows)[0],
        params,
    )


@pytest.mark.parametrize(("name", "verdict"), SECOND)
def test_a_second_rule_has_a_verdict_of_its_own(name, verdict):
    second = experiment.load(name).judge(KNOWN[name][verdict]).second
    assert second.verdict == SECOND[name, verdict]
    assert second.interval[0] <= second.measured <= second.interval[1]


def test_the_second_slope_is_that_of_the_farther_point():
    data = copy.deepcopy(KNOWN["gradient_noise"]["supported"])
    sizes = data["real"]["sizes"]
    start, trained = gradient_noise._POINTS
    for point, powers in ((start, (-1.0, -1.1, -1.2)), (trained, (-1.0, -1.01, -0.99))):
        data["real"]["variances"][point] = [[7 * size**power for size in sizes] for power in powers]
    judged = gradient_noise.judge(data)
    # Student's t of two degrees is 4.3027, and the deviation 0.1.
    half = 4.3027 * 0.1 / math.sqrt(3)
    np.testing.assert_allclose(
        [judged.second.measured, *judged.second.interval], [-1.1, -1.1 - half, -1.1 + half], rtol=1e-4
    )
    assert judged.second.verdict == "inconclusive"
    assert "at the start" in judged.second.effect
    assert "goes with the power -1.1 at the start and -1 after training." in judged.sentence


def test_a_line_that_bends_is_told_in_two_parts():
    data = copy.deepcopy(KNOWN["gradient_noise"]["supported"])
    bent = [4.0**-2, 8.0**-2, 16.0**-2, 32.0**-2, 32.0**-2 / 2, 32.0**-2 / 4, 32.0**-2 / 8]
    data["real"]["variances"] = {point: [bent, [2 * one for one in bent]] for point in gradient_noise._POINTS}
    # Least squares through 0, -2, -4, -6, -7, -8, -9 at 0 to 6: -42/28.
    assert "(up to 32 -2, from there -1) at the start" in gradient_noise.judge(data).sentence
    assert gradient_noise.judge(data).second.measured == pytest.approx(-1.5)


def test_length_over_distance_of_a_zigzag():
    path = np.array([[step, step % 2] for step in range(5)], float)
    assert paths.length_over_distance(path) == pytest.approx(math.sqrt(2))
    assert paths.length_over_distance(path[:, :1]) == pytest.approx(1)


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


def test_each_process_counts_once_however_many_rounds_it_has():
    data = copy.deepcopy(KNOWN["batch_time"]["supported"])
    way = "all cores"
    data["sizes"][way] = [1, 16, 1024]
    data["seconds"][way] = [[1.0, times, 100.0] for times in (1.0, 2.0, 4.0, 8.0)]
    data["process"][way] = [0, 0, 0, 1]
    judged = batch_time.judge(data)
    assert judged.measured == pytest.approx(64 ** (1 / 4))
    # Of the processes 2 and 8, whose logarithms are ln 4 ± ln 2; Student's t of one degree is 12.706.
    expected = [4, 4 / 2**12.7062, 4 * 2**12.7062]
    np.testing.assert_allclose([judged.second.measured, *judged.second.interval], expected, rtol=1e-4)
    assert judged.second.effect.endswith("over 2 processes")


def test_one_process_leaves_the_second_rule_open():
    data = copy.deepcopy(KNOWN["batch_time"]["supported"])
    data["process"] = {way: [0] * len(numbers) for way, numbers in data["process"].items()}
    judged = batch_time.judge(data)
    assert (judged.verdict, judged.second.verdict) == ("supported", "inconclusive")


def test_a_process_of_its_own_has_the_devices_of_the_one_that_asks_or_one_core():
    code = """
import functools, os, jax
from tricks.lectures.common.update_times import in_a_process
jax.config.update("jax_num_cpu_devices", 3)
print(in_a_process(jax.device_count), *in_a_process(functools.partial(os.sched_getaffinity, 0), one_core=True))
"""
    done = run_python("-c", code, XLA_FLAGS="")
    assert (done.status, done.output.split()[0]) == (0, "[3]"), done.error
    assert len(done.output.split()[1:]) == 1


def test_an_update_of_examples_one_by_one_is_that_of_the_batch():
    def loss_fn(w, batch):
        return jnp.mean((batch.features @ w - batch.targets) ** 2)

    examples = losses.Batch(jnp.arange(10.0).reshape(5, 2), jnp.arange(5.0))
    one, other = (update_times.updates(loss_fn, 3, way, jnp.ones(2), examples, 2) for way in (False, True))
    # The second batch begins at example 3 % 3 = 0 again.
    w, x, y = np.ones(2), np.arange(6.0).reshape(3, 2), np.arange(3.0)
    for _ in range(2):
        w = w - 0.01 * 2 / 3 * x.T @ (x @ w - y)
    np.testing.assert_allclose(one, w, rtol=1e-5)
    np.testing.assert_allclose(other, w, rtol=1e-5)


def test_a_barrier_is_measured_from_the_straight_line_between_the_ends():
    alphas = [-0.5, 0.0, 0.25, 0.5, 1.0, 1.5]
    # 3 at a quarter, where the line from 1 to 2 is at 1.25; what lies outside does not count.
    assert ends.barrier(alphas, [9.0, 1.0, 3.0, 1.5, 2.0, 9.0]) == pytest.approx(1.75)
    assert ends.barrier(alphas, [9.0, 1.0, 0.5, 0.1, 2.0, 9.0]) == 0


def _at_one_loss(times, accuracy, **losses):
    """The verdicts where the first rule supports the claim, and the large batch was so at the loss of the small one."""
    data = copy.deepcopy(KNOWN["sharp_minima"]["supported"])
    # The small batch has 1.0, 1.2, 0.9 and 98.0, 98.1, 98.2 %.
    data["earlier"]["sharpness"] = np.multiply(times, [1.0, 1.2, 0.9]).tolist()
    data["earlier"]["accuracy"] = accuracy
    data["losses"] |= losses
    return sharp_minima.judge(data)


@pytest.mark.parametrize(
    ("times", "accuracy", "verdict"),
    [
        ([4.0, 4.4, 3.6], [97.0, 97.1, 97.3], "supported"),
        ([0.5, 0.6, 0.4], [97.0, 97.1, 97.3], "refuted"),
        ([4.0, 4.4, 3.6], [99.0, 99.1, 99.3], "refuted"),
        ([2.0, 0.5, 1.0], [97.0, 97.1, 97.3], "inconclusive"),
        ([4.0, 4.4, 3.6], [98.1, 98.0, 98.2], "inconclusive"),
    ],
    ids=["sharper and worse", "flatter and worse", "sharper and better", "either", "as good"],
)
def test_the_second_rule_is_decided_at_one_loss_and_leaves_the_first_as_it_is(times, accuracy, verdict):
    judged = _at_one_loss(times, accuracy)
    assert (judged.verdict, judged.second.verdict) == ("supported", verdict)


@pytest.mark.parametrize(
    ("row", "second"), [("supported", "refuted"), ("refuted", "supported"), ("inconclusive", "inconclusive")]
)
def test_the_second_rule_finds_the_known_answer(row, second):
    assert sharp_minima.judge(KNOWN["sharp_minima"][row]).second.verdict == second


def test_what_the_second_rule_measures():
    judged = _at_one_loss([2.0, 8.0, 4.0], [97.0, 97.1, 97.2])
    # Powers 1, 3 and 2 of two: 2 with a standard deviation of 1, and Student's t at two degrees of freedom is 4.3027.
    half = 4.30265 / math.sqrt(3)
    assert judged.second.measured == pytest.approx(4)
    assert judged.second.interval == pytest.approx((2 ** (2 - half), 2 ** (2 + half)), rel=1e-4)
    assert judged.second.effect.endswith("of 5900 over that at 256, at one training loss, full space, ε = 1e-3")
    assert "Compared at one training loss, 0.011 and 0.01, where the large batch is after 11 epochs" in judged.sentence
    assert "it is 4 times as sharp (0.715 to 22.4), and the test accuracy" in judged.sentence
    assert "of the small batch less that of the large one is 1 points (1 to 1); there" in judged.sentence
    # 1.0 / 2.0, 1.2 / 2.2, 1.1 / 2.1: below 1, where the ratio of sharpness may be either.
    assert "does not move leaves it open: 0.523 times (0.469 to 0.582)." in judged.sentence
    assert "never comes down" not in judged.sentence


def test_pairs_whose_large_batch_never_comes_down_are_counted():
    judged = _at_one_loss([4.0, 4.4, 3.6], [97.0, 97.1, 97.3], earlier=[0.02, 0.011, 0.03])
    assert "In 2 of 3 pairs it never comes down so far, and its last weights count." in judged.sentence
    assert "does not move says the opposite: 0.523 times" in judged.sentence


@pytest.mark.parametrize(
    ("level", "number"), [(0.5, 2), (0.3, 4), (0.0, 5)], ids=["at it", "not the lowest", "never: the last"]
)
def test_the_first_weights_at_a_level(level, number):
    kept = [Weights(loss, {}) for loss in (0.9, 0.5, math.nan, 0.2, 0.1)]
    seen = []

    def measure(end):
        seen.append(end)
        return {"loss": end.params}

    found, end, measured = ends.first_at(kept, level, measure)
    assert (found, end, measured) == (number, kept[number - 1], {"loss": kept[number - 1].params})
    assert seen == kept[:number]


def test_the_weights_of_every_epoch_are_kept_as_they_were():
    changes = {"data.name": "digits", "data.batch_size": 256, "model.hidden_sizes": (4,), "train.epochs": 3}
    (config,) = training.configured(Config(), changes, [0])
    setup, kept = sharp_minima._train(config)
    trained = training.train_one(config)
    kernels = [end.params["linear_0"]["kernel"] for end in kept]
    assert len(kernels) == 3
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    assert np.abs(kernels[1] - kernels[2]).max() > 1e-4
    np.testing.assert_array_equal(kernels[2], weights(trained.state.train).params["linear_0"]["kernel"])
    found = [ends.over(setup.static, setup.data.validation)(end) for end in kept]
    # The validations begin before the first step.
    expected = trained.summary["validation_loss"][1:]
    np.testing.assert_allclose([one["loss"] for one in found], expected, rtol=1e-5)


def test_the_best_rate_is_that_of_the_best_mean_not_of_the_best_run():
    assert large_batch_lamb.best_of([[80.0, 82.0], [99.0, 10.0], [81.0, 82.0]]) == 2
    assert large_batch_lamb.best_of([[80.0], [80.0]]) == 0
