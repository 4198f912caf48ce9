"""Leaving saddles along negative curvature: never a higher loss, whatever the function; and what it says it found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tricks import curvature, models
from tricks.curvature import line_search, noise

KEYS = [jax.random.key(seed) for seed in range(3)]


def _unchanged(new, old):
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def _bowl(p):
    return p["a"] ** 2 + jnp.sum(jnp.cosh(p["b"]))


@pytest.mark.parametrize("key", KEYS)
def test_a_minimum_is_given_back_bit_for_bit(key):
    params = {"a": jnp.float32(0.1), "b": jnp.full((3, 2), 0.3)}
    new, found = curvature.escape(_bowl, params, key=key)
    assert found.reason == "no negative curvature"
    assert found.eigenvalue > 0
    assert found.distance == 0
    assert found.loss_after == found.loss_before
    _unchanged(new, params)


def _toy(w):
    return (1 - w[0] * w[1]) ** 2


def _monkey(w):
    return w[0] ** 3 - 3 * w[0] * w[1] ** 2


# Functions that a step would make worse, or not finite, if it trusted the curvature: at a point beside their trouble.
ADVERSARIES = {
    "monkey saddle": (_monkey, [0.0, 0.0]),
    "monkey saddle, beside": (_monkey, [0.01, -0.02]),
    "kinks": (lambda w: jnp.sum(jnp.abs(w)) - 0.1 * jnp.sum(w**2), [1e-3, -2e-3]),
    "kinked valley": (lambda w: 10 * jnp.abs(w[0] - w[1]) - w[1] ** 2, [0.0, 0.0]),
    "a wall": (lambda w: -(w[0] ** 2) + w[1] ** 2 + 1e6 * jnp.maximum(jnp.abs(w[0]) - 1e-3, 0), [0.0, 0.0]),
    "walls all round": (lambda w: -jnp.sum(w**2) + 1e9 * jnp.maximum(jnp.sum(w**2) - 1e-12, 0), [0.0, 0.0]),
    "NaN beyond": (lambda w: jnp.where(jnp.abs(w[0]) < 0.1, w[1] ** 2 - w[0] ** 2, jnp.nan), [0.0, 0.0]),
    "NaN on one side": (lambda w: jnp.log1p(w[0]) - w[0] + w[1] ** 2, [0.0, 0.0]),
    "minus infinity beyond": (lambda w: jnp.where(w[0] > 0.5, -jnp.inf, -(w[0] ** 2) + w[1] ** 2), [0.0, 0.0]),
    "NaN everywhere": (lambda w: jnp.sum(w) * jnp.nan, [0.0, 0.0]),
    "zero": (lambda w: 0 * jnp.sum(w), [1.0, 2.0]),
    "flat": (lambda w: 5.0 + 0 * jnp.sum(w), [1.0, 2.0]),
    "linear": (lambda w: w[0] - w[1], [1.0, 2.0]),
    "quartic": (lambda w: jnp.sum(w**4), [0.0, 0.0]),
    "minus quartic": (lambda w: -jnp.sum(w**4), [0.0, 0.0]),
    "narrow well": (lambda w: -jnp.exp(-1e4 * (w[0] - 0.003) ** 2) - 1e-3 * w[0] ** 2 + w[1] ** 2, [0.0, 0.0]),
    "large offset": (lambda w: 1e6 + w[0] * w[1], [0.0, 0.0]),
}
FUNCTIONS = [function for function, _ in ADVERSARIES.values()] + [_toy]


@jax.jit
def _one_of(w, batch):
    # All in one, so that they are compiled once.
    return jax.lax.switch(batch[0], FUNCTIONS, w)


@pytest.mark.parametrize("key", KEYS)
def test_the_lectures_saddle_takes_two_products(key):
    new, found = curvature.escape(_one_of, jnp.zeros(2), [jnp.array([FUNCTIONS.index(_toy)])], key=key)
    assert found.reason == "escaped"
    assert found.loss_before == 1
    assert found.loss_after == pytest.approx((1 - float(new[0] * new[1])) ** 2, abs=1e-6)
    assert found.loss_after < 0.1
    assert found.products <= 2
    assert float(found.eigenvalue) == pytest.approx(-2, abs=float(found.residual))
    assert float(found.distance) == pytest.approx(float(jnp.linalg.norm(new)), rel=1e-6)
    # Along (1, 1), to which -2 belongs.
    assert new[0] * new[1] > 0


@pytest.mark.parametrize("with_noise", [False, True])
def test_no_step_raises_the_loss(with_noise):
    for i, (name, (_, start)) in enumerate(ADVERSARIES.items()):
        params, which = jnp.array(start), jnp.array([i])
        for key in KEYS:
            new, found = curvature.escape(_one_of, params, [which], key=key, noise=with_noise)
            after, before = _one_of(new, which), _one_of(params, which)
            if found.reason == "escaped":
                assert after < before, name
                assert found.loss_after == pytest.approx(float(after), rel=1e-5), name
            elif found.reason == "perturbed":
                assert with_noise
                assert after <= before + 0.0101 * abs(before), name
            else:
                _unchanged(new, params)


@jax.jit
def _polynomial(w, batch):
    c = batch[0]
    quadratic = jnp.sum(c[:9].reshape(3, 3) * jnp.outer(w, w))
    return c[-1] + c[9:12] @ w + quadratic + c[12:15] @ w**3 + jnp.abs(c[15:18]) @ w**4


def test_two_hundred_random_functions_fall_on_both_batches_or_not_at_all():
    rng = np.random.default_rng(0)
    outcomes = {}
    for case in range(200):
        own = rng.normal(size=(1, 19)) * 10.0 ** rng.uniform(-3, 3)
        # From a batch much like it to one that has nothing to do with it.
        other = own + rng.choice([0.01, 0.3, 3.0]) * np.abs(own).mean() * rng.normal(size=own.shape)
        batches = [jnp.asarray(own, jnp.float32)], [jnp.asarray(other, jnp.float32)]
        params = jnp.asarray(rng.normal(size=3) * rng.choice([0.0, 1.0]), jnp.float32)
        new, found = curvature.escape(_polynomial, params, batches[0], held_out=batches[1], key=jax.random.key(case))
        outcomes[found.reason] = outcomes.get(found.reason, 0) + 1
        if found.reason == "escaped":
            for (batch,) in batches:
                assert _polynomial(new, batch) < _polynomial(params, batch), (case, found)
            assert found.eigenvalue < 0
            assert found.held_out_curvature <= found.eigenvalue / 2
        else:
            _unchanged(new, params)
    assert outcomes["escaped"] > 30, outcomes
    assert outcomes["curvature of the batch alone"] > 10, outcomes
    assert outcomes["no negative curvature"] > 10, outcomes


def test_curvature_that_the_held_out_batch_has_not_is_no_way_out():
    def loss_fn(w, batch):
        return jnp.mean(batch) * w[0] ** 2 + w[1] ** 2

    for other, expected in ((-1.0, "escaped"), (-0.51, "escaped"), (-0.49, "curvature of the batch alone")):
        new, found = curvature.escape(loss_fn, jnp.zeros(2), [-jnp.ones(3)], held_out=[jnp.full(5, other)], key=KEYS[0])
        assert found.reason == expected
        assert found.held_out_curvature == pytest.approx(2 * other)
        assert (new[0] != 0) == (expected == "escaped")


def test_batches_count_by_their_examples():
    def loss_fn(w, batch):
        return jnp.mean(batch * jnp.cos(w[0])) + w[1] ** 2

    rows = jnp.arange(1.0, 8.0)
    whole = curvature.escape(loss_fn, jnp.zeros(2), [rows], key=KEYS[0])
    cut = curvature.escape(loss_fn, jnp.zeros(2), [rows[:3], rows[3:6], rows[6:]], key=KEYS[0])
    assert whole[1].reason == cut[1].reason == "escaped"
    np.testing.assert_allclose(whole[0], cut[0], rtol=1e-5, atol=1e-5)


def test_zero_weights_are_left_in_a_few_products():
    x, y = load_digits(return_X_y=True)
    batch = jnp.asarray(x / 16, jnp.float32), jnp.asarray(y)
    one, other = (tuple(part[i::2][:898] for part in batch) for i in (0, 1))
    sizes = {"input_size": 64, "output_size": 10, "hidden_sizes": (16,), "activation": "tanh"}
    apply, params, state = models.build(**sizes, initializer="zeros", key=KEYS[0])

    def loss_fn(params, batch):
        logits, _ = apply(params, state, batch[0])
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), batch[1][:, None], axis=1))

    for key in KEYS:
        new, found = curvature.escape(loss_fn, params, [one], held_out=[other], key=key)
        assert found.reason == "escaped"
        assert found.products <= 10
        assert found.loss_before == pytest.approx(np.log(10), rel=1e-3)
        assert loss_fn(new, one) < 2.1
        assert loss_fn(new, other) < 2.1


def _product(w):
    return (1 - w[0] * w[1] * w[2]) ** 2


def _product_or_bowl(w, batch):
    return jnp.where(batch[0], _product(w), 1 + jnp.sum(w**2))


def test_a_saddle_without_curvature_needs_noise():
    batches = [jnp.array([True])]
    new, found = curvature.escape(_product_or_bowl, jnp.zeros(3), batches, key=KEYS[0])
    assert found.reason == "derivatives vanish"
    _unchanged(new, jnp.zeros(3))
    for key in KEYS:
        new, found = curvature.escape(_product_or_bowl, jnp.zeros(3), batches, key=key, noise=True)
        if found.reason == "perturbed":
            assert 0 < float(jnp.linalg.norm(new)) == pytest.approx(float(found.distance))
            assert _product(new) <= 1.0101
            assert float(jnp.linalg.norm(jax.grad(_product)(new))) > 0


def test_noise_grows_by_half_until_a_loss_rises_by_a_hundredth():
    def tried(losses_at):
        return noise.most_noise(
            losses_at, lambda length, direction: length, jnp.zeros(1), jnp.ones(1), KEYS[0], jnp.bool_(True)
        )

    # 0.001 1.5^5 = 0.0076 is the sixth, and the seventh is above 0.01.
    length, losses, trials = tried(lambda length: 1 + length[None])
    assert trials == 7
    np.testing.assert_allclose([length, losses[0]], [0.001 * 1.5**5, 1 + 0.001 * 1.5**5], rtol=1e-6)
    length, losses, trials = tried(lambda length: jnp.ones(1))
    assert (length, losses[0], trials) == (0, 1, noise.MOST_TRIALS)


@pytest.mark.parametrize("seed", range(3))
def test_beside_a_point_is_a_thousandth_away_everywhere(seed):
    point = {"w": jnp.full((90, 100), 3.0), "b": jnp.zeros(1000)}
    slope = noise.gradient_beside(
        lambda p: sum(jnp.sum(leaf**2) / 2 for leaf in jax.tree.leaves(p)), point, jax.random.key(seed)
    )
    for leaf, at in ((slope["w"], 3.0), (slope["b"], 0.0)):
        away = np.asarray(leaf, np.float64) - at
        assert np.abs(away).max() <= 1.001e-3 * 3**0.5
        assert np.std(away) == pytest.approx(1e-3, rel=0.1)
        assert abs(np.mean(away)) < 1e-4


def test_dead_units_are_said_to_be_dead():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 20)), jnp.float32)
    params = {
        "in": jnp.ones((20, 30)) * 0.01,
        "bias": jnp.full((1, 30), -100.0),
        "out": jnp.ones(30),
        "last": jnp.zeros(1),
    }

    def loss_fn(p):
        return jnp.mean((jax.nn.relu(x @ p["in"] + p["bias"]) @ p["out"] + p["last"] - x[:, 0]) ** 2)

    for with_noise in (False, True):
        new, found = curvature.escape(loss_fn, params, key=KEYS[0], noise=with_noise)
        assert found.reason == "nothing moves"
        _unchanged(new, params)


def test_noise_is_for_vanishing_derivatives_alone():
    for params in (jnp.zeros(3), jnp.full(3, 1e-4, jnp.float32)):
        new, found = curvature.escape(_product_or_bowl, params, [jnp.array([False])], key=KEYS[0], noise=True)
        assert found.reason == "no negative curvature"
        _unchanged(new, params)


# Its walls are narrower than the digits of the parameters.
@jax.jit
def _walled(w, batch):
    d, wall = w.astype(jnp.float32) - batch[0][0].astype(jnp.float32), batch[1][0]
    return 1 - 2 * jnp.sum(d[:2] ** 2) + jnp.sum(d**4) + wall * (d[0] - d[1]) ** 2


@pytest.mark.parametrize("wall", [0.0, 200.0, 2000.0])
def test_in_bfloat16_the_loss_is_that_of_the_rounded_parameters(wall):
    rng, escapes = np.random.default_rng(0), 0
    for case in range(15):
        params = jnp.asarray(rng.uniform(-300, 300, 4), jnp.bfloat16)
        batch = params[None], jnp.array([wall])
        new, found = curvature.escape(_walled, params, [batch], key=jax.random.key(case))
        escapes += found.reason == "escaped"
        after = float(_walled(new, batch))
        assert float(found.loss_after) == pytest.approx(after, rel=1e-4), case
        assert after <= 1
    assert escapes > 0 or wall > 0


@pytest.mark.parametrize(("length", "elsewhere"), [(0.0, 0.0), (25.0, 0.0), (0.0, 1e4)])
@pytest.mark.parametrize("constant", [10.0, 1000.0, -3.0, -1000.0])
def test_a_constant_in_the_loss_hides_no_way_out(constant, length, elsewhere):
    # As long as those that move, or long where nothing does.
    params = jnp.zeros(20).at[:2].set(length / 2**0.5).at[2].set(elsewhere)
    # An array, so that all cases are one program.
    constant = jnp.float32(constant)

    def loss_fn(w, batch=None):
        scale = 1 if batch is None else jnp.mean(batch)
        moved = w - params
        return scale * jnp.sum(1 - moved[:2] ** 2 + moved[:2] ** 4) + jnp.sum(moved[2:] ** 2)

    for key in KEYS[:3]:
        plain, shifted = (
            curvature.escape(
                lambda w, batch, c=c: loss_fn(w, batch) + c,
                params,
                [jnp.ones(3)],
                held_out=[jnp.ones(2)],
                key=key,
            )[1]
            for c in (jnp.float32(0), constant)
        )
        assert plain.reason == shifted.reason == "escaped"
        # All that can be gained is a half.
        assert all(float(found.loss_before - found.loss_after) > 0.25 for found in (plain, shifted))
    # What can be gained is little still beside what is asked for.
    _, found = curvature.escape(lambda w: loss_fn(w) + constant, params, key=KEYS[0], min_decrease=0.99)
    assert found.reason == "no lower loss"


def test_a_loss_that_is_nearly_zero_at_a_saddle_may_fall_far():
    for constant in map(jnp.float32, (0.0, 1e-30, -1e-9)):
        _, found = curvature.escape(lambda w, c=constant: w[0] ** 2 - w[1] ** 2 + c, jnp.zeros(2), key=KEYS[0])
        assert found.reason == "escaped"
        assert found.loss_after < -10


def test_only_what_the_mask_names_moves():
    def loss_fn(p):
        return (1 - p["a"] * p["b"]) ** 2 + (1 - p["frozen"] * p["b"]) ** 2 + 0.0 * p["steps"]

    params = {"a": jnp.float32(0), "b": jnp.float32(0), "frozen": jnp.float32(0), "steps": jnp.int32(3)}
    mask = {"a": True, "b": True, "frozen": False, "steps": False}
    new, found = curvature.escape(loss_fn, params, key=KEYS[0], mask=mask)
    assert found.reason == "escaped"
    assert new["frozen"] == 0
    assert new["steps"] == 3
    assert float(found.loss_after) == pytest.approx(float(loss_fn(new)), rel=1e-5)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize(("second", "reason"), [(-1.0, "escaped"), (2.0, "no negative curvature")])
def test_every_product_is_counted(held_out, second, reason):
    """Two span the plane; one more is on the held-out batch, or tells what derivatives reach where there is no way."""
    batches = [jnp.ones(1)]
    second = jnp.float32(second)
    _, found = curvature.escape(
        lambda w, batch: 1 + (w[0] ** 2 + second * w[1] ** 2 + w[1] ** 4) * jnp.mean(batch),
        jnp.zeros(2),
        batches,
        held_out=batches if held_out else None,
        key=KEYS[0],
    )
    assert found.reason == reason
    assert found.products == (2 if reason == "escaped" and not held_out else 3)


def test_products_and_memory_are_bounded():
    diagonal = jnp.linspace(-1e-6, 1, 2000)

    def loss_fn(w):
        return jnp.sum(diagonal * w**2)

    for most in (3, 7, 30):
        _, found = curvature.escape(loss_fn, jnp.zeros(2000), key=KEYS[0], max_products=most)
        assert found.products <= most
        assert found.evaluations <= line_search.MOST_TRIALS + 1


def test_an_ill_conditioned_saddle_within_its_products():
    diagonal = jnp.concatenate([jnp.array([-1e-3]), jnp.asarray(np.random.default_rng(0).uniform(1e-3, 1, 9999))])

    def loss_fn(w):
        return jnp.sum(diagonal * w**2) / 2 + 1e-3 * jnp.sum(w**4)

    for key in KEYS:
        _, found = curvature.escape(loss_fn, jnp.zeros(10_000), key=key)
        assert found.reason == "escaped"
        assert found.eigenvalue == pytest.approx(-1e-3, rel=0.3)
        assert found.products <= 120


def test_float64_keeps_its_digits():
    with jax.enable_x64(True):
        # A curvature that float32 could not tell from rounding.
        new, found = curvature.escape(
            lambda w: w[0] ** 2 - 1e-9 * w[1] ** 2 + 1e-9 * w[1] ** 4, jnp.zeros(2, jnp.float64), key=KEYS[0]
        )
        assert found.reason == "escaped"
        assert new.dtype == jnp.float64
        assert found.eigenvalue == pytest.approx(-2e-9, rel=1e-3)
        assert abs(new[1]) == pytest.approx(0.5**0.5, rel=0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_decrease": 1.0}, "min_decrease is 1.0; allowed: 0 <= min_decrease < 1"),
        ({"max_products": 2}, "max_products is 2; allowed: an integer, 3 to 1073741824"),
        ({"max_products": 2**40}, "max_products is 1099511627776; allowed: an integer, 3 to 1073741824"),
        ({"noise": "no"}, "noise is 'no'; allowed: True or False"),
        ({"basis_size": 4}, "basis_size is 4; allowed: an integer, 5 or more"),
        ({"held_out": [jnp.ones(2)]}, "held_out is given without batches"),
        ({"batches": []}, "batches is empty"),
        ({"basis_size": 10**13, "params": jnp.zeros(10**6)}, "basis_size is 1000000, .* GiB are free: choose fewer"),
        ({"params": jnp.zeros(2, jnp.int32)}, "params is int32; allowed: floating-point arrays"),
        ({"loss_fn": lambda w: w}, "loss_fn returns an array of shape"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    arguments = {"loss_fn": lambda w: jnp.sum(w), "params": jnp.zeros(2), "key": KEYS[0], **options}
    with pytest.raises(ValueError, match=message):
        curvature.escape(arguments.pop("loss_fn"), arguments.pop("params"), arguments.pop("batches", None), **arguments)
