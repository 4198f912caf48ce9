"""What the experiments on critical points measure, on problems with a known answer."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks.lectures.common import experiment, small_networks, traps
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.small_networks import descend_by_windows, first_plateau, to_small_gradient
from tricks.lectures.minimum_ratio import flat_share
from tricks.lectures.more_dimensions import without_way_down
from tricks.lectures.stuck_not_critical import overlap
from tricks.lectures.taylor import taylor_errors
from tricks.transforms import momentum


def test_the_error_of_a_cubic_is_its_third_power():
    # x^3 + 2 x^2 around 1: value 3, slope 7, curvature 10; the rest is h^3.
    steps = jnp.array([0.25, 0.5])
    linear, quadratic = taylor_errors(lambda w: w[0] ** 3 + 2 * w[0] ** 2, jnp.ones(1), jnp.ones(1), steps)
    np.testing.assert_allclose(quadratic, steps**3, rtol=1e-5)
    np.testing.assert_allclose(linear, 5 * steps**2 + steps**3, rtol=1e-5)


def test_shares_of_slices_of_known_spectra():
    rng = np.random.default_rng(0)
    # On a line v'Hv of diag(1, -1) is positive as often as negative; in the plane there is a way down.
    both = np.array(without_way_down(np.array([-1.0, 1.0]), 2000, rng))
    assert set(both) == {0, 1}
    assert np.mean(both >= 1) == pytest.approx(0.5, abs=0.04)
    # Of diag(3, -1) where |v1| > |v2| / sqrt(3): an angle of 120 of 180 degrees.
    tilted = np.array(without_way_down(np.array([3.0, -1.0]), 2000, rng))
    assert np.mean(tilted >= 1) == pytest.approx(2 / 3, abs=0.04)
    assert set(without_way_down(np.full(5, -1.0), 10, rng)) == {0}
    assert set(without_way_down(np.array([1.0, 2.0, 0.0]), 10, rng)) == {3}


def test_a_gradient_along_zero_curvature_is_flat():
    values, vectors = np.array([0.0, 2.0]), np.array([[0.6, -0.8], [0.8, 0.6]])
    assert flat_share(np.array([0.6, 0.8]), values, vectors) == pytest.approx(1)
    assert flat_share(np.array([-0.8, 0.6]), values, vectors) == pytest.approx(0)


def test_overlap_is_a_cosine():
    assert float(overlap(jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0]))) == pytest.approx(24 / 25)
    assert float(overlap(jnp.zeros(2), jnp.ones(2))) == 0


def test_gradient_descent_beyond_its_limit_bounces():
    # On x^2 / 2 a rate of 2.5 multiplies the gradient by -1.5 at each step.
    ends, means = descend_by_windows(lambda w: jnp.sum(w**2) / 2, jnp.ones(1), 2, 1, momentum(2.5, 0.0))
    assert ends.ravel().tolist() == [-1.5, 2.25]
    assert means.tolist() == [0.5, 1.125]
    assert first_plateau(means.tolist(), 0.01, 0.5) == 1


def test_a_plateau_is_where_the_loss_is_high_and_does_not_fall():
    assert first_plateau([2.0, 1.0, 0.991, 0.9], 0.01, 0.5) == 2
    assert first_plateau([2.0, 1.0, 0.989, 0.9], 0.01, 0.5) is None
    assert first_plateau([2.0, 1.0, 1.0], 0.01, 1.5) is None


def test_gradients_are_driven_to_critical_points_of_every_kind():
    # x^4 - 2 x^2 + y^2 has minima at x = +-1 and a saddle at 0.
    def loss(w):
        return w[0] ** 4 - 2 * w[0] ** 2 + w[1] ** 2

    with jax.enable_x64(True):
        starts = np.array([[0.2, 0.3], [0.9, 0.3]])
        points, gradients, matrices = side_by_side(lambda w: to_small_gradient(loss, w, 60), starts, batched=False)
    assert np.max(np.abs(gradients)) < 1e-10
    np.testing.assert_allclose(points, [[0, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.eigvalsh(matrices), [[-4, 2], [2, 8]], atol=1e-6)


@pytest.mark.parametrize("batched", [True, False])
def test_lanes_are_all_computed_and_see_what_is_shared(batched):
    found = side_by_side(lambda a, x: {"y": a * x}, np.arange(5.0), shared=(np.float32(2),), batched=batched)
    assert found["y"].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("make", "smallest"),
    [(traps.toy, -2), (traps.factorization, -5), (traps.ill_conditioned, -1e-3), (traps.without_curvature, 0)],
)
def test_the_start_of_a_trap_is_critical_with_the_curvature_that_is_said(make, smallest):
    trap = make()
    w = trap.start(jax.random.key(0), 0)
    assert float(jnp.max(jnp.abs(jax.grad(trap.checked_loss)(w)))) == 0
    values = np.linalg.eigvalsh(np.asarray(jax.hessian(trap.checked_loss)(w), np.float64))
    assert values[0] == pytest.approx(smallest, rel=1e-4, abs=1e-6)
    (level,) = trap.kinds.values()
    assert float(trap.checked_loss(w)) > level


def test_the_examples_of_a_trap_are_disjoint_parts():
    made = traps.image_network("digits", 4, 32, 500)
    (sample,) = made.shared
    parts = [np.asarray(part.features) for part in (sample.train, sample.checked, sample.held_out)]
    rows = np.concatenate(parts)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert math.isnan(made.kinds["usual weights"])


def test_parts_of_the_digits_are_disjoint_and_drawn_by_the_seed():
    one, other = small_networks.parts_of_digits(600)
    assert len(np.unique(np.concatenate([one.features, other.features]), axis=0)) == 1200
    assert not np.array_equal(one.targets, small_networks.parts_of_digits(600, 1)[0].targets)


def test_work_counts_until_a_trap_is_left_for_good():
    found = experiment.load("saddle_escape")
    run = {"trap": "a", "seed": 0, "escapes": 0, "products": 0, "test_loss": 1.0, "level": 1.0, "work": [10, 20, 30]}
    others = [{**run, "method": name, "losses": [2, 2, 2]} for name in ("momentum alone",)]
    usual = [{**run, "trap": "usual weights", "method": name, "losses": []} for name in ("momentum alone", "escape")]
    for losses, left in (([2, 0.5, 0.4], 20), ([0.5, 2, 0.5], 30)):
        data = {"runs": [*others, {**run, "method": "escape", "losses": losses}, *usual]}
        assert found.judge(data).details["work_until_left"]["a"]["escape"] == left
