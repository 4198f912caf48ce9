"""Augmented batches against SciPy and the formulas of the docstring; what is drawn, against its distribution."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from conftest import QUICKLY_COMPILED, run_python
from tricks import augmentation, losses
from tricks.augmentation import augment
from tricks.losses import Batch

RNG = np.random.default_rng(0)
KEY = jax.random.key(3)
IMAGES = RNG.normal(size=(5, 6, 7, 2)).astype(np.float32)
BATCH = Batch(IMAGES, np.arange(5, dtype=np.int32))
ALL = {"shift": 2.0, "rotation": 20.0, "scale": 0.2, "noise": 0.3, "cutout": 3.0, "feature_dropout": 0.2, "mixup": 0.4}
SIZES = [(5, 5, 1), (8, 8, 3), (5, 8, 2), (1, 6, 1), (6, 1, 1)]
# Examples to look at a distribution with.
MANY = 4000


def _compiled(**strengths):
    # One program is compiled sooner than each of its operations.
    return jax.jit(functools.partial(augment, **strengths))


def _augmented(features, **strengths):
    targets = np.zeros(len(jax.tree.leaves(features)[0]), np.int32)
    return jax.device_get(_compiled(**strengths)(KEY, Batch(features, targets)).features)


def _is_uniform(values, low, high) -> bool:
    return scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


def _warp(images, matrices, offsets):
    # A map for each example, as SciPy has it; the module takes its numbers one by one.
    matrices, offsets = np.asarray(matrices, np.float32), np.asarray(offsets, np.float32)
    return augmentation._warp(
        images, [[matrices[:, i, j] for j in (0, 1)] for i in (0, 1)], [offsets[:, i] for i in (0, 1)]
    )


@pytest.mark.parametrize("size", SIZES)
def test_an_affine_map_is_that_of_scipy(size):
    images = RNG.normal(size=(4, *size)).astype(np.float32)
    matrices = np.eye(2) + RNG.normal(size=(4, 2, 2)) / 3
    offsets = RNG.normal(size=(4, 2)) * 2
    warped = _warp(images, matrices, offsets)
    for image, matrix, offset, result in zip(images.astype(float), matrices, offsets, warped, strict=True):
        for channel in range(size[2]):
            expected = scipy.ndimage.affine_transform(image[..., channel], matrix, offset, order=1, mode="nearest")
            np.testing.assert_allclose(result[..., channel], expected, atol=2e-5)


@pytest.mark.parametrize("size", [4, 5])
def test_a_quarter_turn_is_exact(size):
    images = IMAGES[:, :size, :size]
    quarter = np.broadcast_to([[0, 1], [-1, 0]], (5, 2, 2))
    turned = _warp(images, quarter, np.broadcast_to([0, size - 1], (5, 2)))
    np.testing.assert_array_equal(turned, np.rot90(images, axes=(1, 2)))


def _with_draws(monkeypatch, value):
    """Lets every uniform number be the same one."""
    monkeypatch.setattr(augmentation, "_uniform", lambda key, shape, dtype: jnp.full(shape, value, dtype))


def test_a_whole_shift_moves_and_repeats_the_border(monkeypatch):
    _with_draws(monkeypatch, 1.0)
    moved = _augmented(IMAGES, shift=2)
    np.testing.assert_array_equal(moved[:, 2:, 2:], np.roll(IMAGES, (2, 2), axis=(1, 2))[:, 2:, 2:])
    np.testing.assert_array_equal(moved, np.pad(IMAGES, ((0, 0), (2, 0), (2, 0), (0, 0)), mode="edge")[:, :6, :7])


def test_a_rotation_of_90_degrees_turns_to_the_left(monkeypatch):
    _with_draws(monkeypatch, 1.0)
    square = IMAGES[:, :, :6]
    np.testing.assert_allclose(_augmented(square, rotation=90), np.rot90(square, axes=(1, 2)), atol=1e-5)


@pytest.mark.parametrize("draw", [0.0, 0.8])
def test_shift_rotation_and_scale_are_one_map(monkeypatch, draw):
    _with_draws(monkeypatch, draw)
    moved = _augmented(IMAGES, shift=1.5, rotation=30, scale=0.4)
    u = 2 * draw - 1
    angle, center, t = math.radians(30 * u), np.array([2.5, 3]), np.full(2, 1.5 * u)
    forward = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * (1 + 0.4 * u)
    back = np.linalg.inv(forward)
    for image, result in zip(IMAGES, moved, strict=True):
        expected = scipy.ndimage.affine_transform(
            image[..., 0], back, center - back @ (center + t), order=1, mode="nearest"
        )
        np.testing.assert_allclose(result[..., 0], expected, atol=1e-5)


def test_of_each_example_shift_angle_and_sizes_are_uniform_and_apart():
    # Every pixel says where it is, so that the result says where it was taken from.
    places = np.stack(np.meshgrid(np.arange(9), np.arange(9), indexing="ij"), axis=-1)
    taken = _augmented(np.broadcast_to(places, (MANY, 9, 9, 2)).astype(np.float32), shift=1, rotation=25, scale=0.3)
    taken = np.asarray(taken, float)
    back = np.stack([taken[:, 5, 4] - taken[:, 3, 4], taken[:, 4, 5] - taken[:, 4, 3]], axis=-1) / 2
    sizes = 1 / np.linalg.norm(back, axis=2)
    angle = np.degrees(np.arctan2(back[:, 0, 1], back[:, 0, 0]))
    shift = -np.linalg.solve(back, (taken[:, 4, 4] - 4)[..., None])[..., 0]
    drawn = np.column_stack([shift, angle, sizes])
    for values, (low, high) in zip(drawn.T, [(-1, 1)] * 2 + [(-25, 25)] + [(0.7, 1.3)] * 2, strict=True):
        assert _is_uniform(values, low, high)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 4 / math.sqrt(MANY)
    assert abs(np.corrcoef(angle[1:], angle[:-1])[0, 1]) < 4 / math.sqrt(MANY)


def test_noise_has_the_moments_of_its_formula():
    noise = np.asarray(_augmented(np.zeros((MANY, 50), np.float32), noise=0.3), float)
    assert abs(noise.mean()) < 4 * 0.3 / math.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.3, rel=4 / math.sqrt(2 * noise.size))
    # Four uniform variables: a quarter of -1.2.
    assert scipy.stats.kurtosis(noise, axis=None) == pytest.approx(-0.3, abs=4 * math.sqrt(24 / noise.size))
    for one, other in ((noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(noise.size)


def test_cutout_clears_a_square_around_a_uniform_point():
    cleared = np.asarray(_augmented(np.ones((MANY, 9, 7, 2), np.float32), cutout=4) == 0)
    assert (cleared[..., 0] == cleared[..., 1]).all()
    rows, columns = cleared[..., 0].any(axis=2), cleared[..., 0].any(axis=1)
    assert (cleared[..., 0] == rows[:, :, None] & columns[:, None, :]).all()
    assert rows.sum(axis=1).max() == columns.sum(axis=1).max() == 4
    for covered, size in ((rows, 9), (columns, 7)):
        places = np.arange(size) + 0.5
        share = (np.minimum(places + 2, size) - np.maximum(places - 2, 0)) / size
        np.testing.assert_allclose(covered.mean(axis=0), share, atol=4 / math.sqrt(4 * MANY))
    np.testing.assert_array_equal(
        np.where(_augmented(IMAGES, cutout=3) == 0, IMAGES, _augmented(IMAGES, cutout=3)), IMAGES
    )


def test_feature_dropout_drops_each_feature_by_itself_and_scales_none():
    features = RNG.uniform(1, 2, size=(MANY, 50)).astype(np.float32)
    left = np.asarray(_augmented(features, feature_dropout=0.2))
    dropped = left == 0
    np.testing.assert_array_equal(left[~dropped], np.asarray(features)[~dropped])
    assert dropped.mean() == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / dropped.size))
    assert np.var(dropped.sum(axis=1)) == pytest.approx(50 * 0.16, rel=4 * math.sqrt(2 / MANY))


@pytest.mark.parametrize("alpha", [0.1, 1.0, 5.0])
def test_the_weight_of_mixup_is_the_larger_part_of_beta(alpha):
    batch = Batch(np.zeros((MANY, 1), np.float32), np.zeros(MANY))
    weight = np.asarray(_compiled(mixup=alpha)(KEY, batch).mix.weight, float)
    beta = scipy.stats.beta(alpha, alpha)
    assert weight.min() >= 0.5
    # Close to 1 float32 has few numbers left, and a small alpha has most of its draws there.
    inside = weight[weight < 0.999]
    at_most = beta.cdf(0.999) - beta.cdf(0.001)
    assert len(inside) / MANY == pytest.approx(at_most, abs=4 * 0.5 / math.sqrt(MANY))
    assert scipy.stats.kstest(inside, lambda w: (beta.cdf(w) - beta.cdf(1 - w)) / at_most).pvalue > 1e-3
    w = np.linspace(0.5, 1, 10001)
    mean = 0.5 + np.trapezoid(1 - beta.cdf(w) + beta.cdf(1 - w), w)
    assert weight.mean() == pytest.approx(mean, abs=4 * 0.25 / math.sqrt(MANY))


def test_mixup_mixes_features_and_losses_with_the_same_weight():
    features, targets = IMAGES.reshape(5, -1), np.array([0, 2, 1, 1, 0])
    mixed = jax.device_get(_compiled(mixup=1.0)(KEY, Batch({"a": features, "b": IMAGES}, targets)))
    np.testing.assert_array_equal(mixed.targets, targets)
    np.testing.assert_array_equal(mixed.mix.targets, np.roll(targets, 1))
    weight = np.asarray(mixed.mix.weight, float)
    assert len(set(weight.tolist())) == 5
    expected = weight[:, None] * features + (1 - weight[:, None]) * np.roll(features, 1, axis=0)
    np.testing.assert_allclose(mixed.features["a"], expected, atol=1e-6)
    np.testing.assert_allclose(mixed.features["b"].reshape(5, -1), expected, atol=1e-6)

    kernel = RNG.normal(size=(84, 3)).astype(np.float32)
    loss_fn = losses.mean_loss(lambda params, state, x, rng: (x["a"] @ params, state), losses.cross_entropy)
    value, (_, measures) = jax.jit(loss_fn, static_argnums=3)(kernel, {}, mixed, None)
    logits = expected @ kernel.astype(float)
    surprise = scipy.special.logsumexp(logits, axis=1, keepdims=True) - logits
    right = logits.argmax(axis=1)
    rows, others = np.arange(5), np.roll(targets, 1)
    by_hand = weight * surprise[rows, targets] + (1 - weight) * surprise[rows, others]
    assert float(value) == pytest.approx(by_hand.mean(), rel=1e-5)
    hits = weight * (right == targets) + (1 - weight) * (right == others)
    assert float(measures["accuracy"]) == pytest.approx(hits.mean(), rel=1e-5)


def test_strengths_of_a_traced_0_change_nothing():
    zeros = dict.fromkeys(ALL, 0.0)
    same = jax.jit(augment)(KEY, BATCH, **zeros)
    np.testing.assert_array_equal(same.features, IMAGES)
    np.testing.assert_array_equal(same.targets, BATCH.targets)
    np.testing.assert_array_equal(same.mix.weight, np.ones(5))


def test_strengths_of_0_are_not_in_the_program():
    program = jax.make_jaxpr(augment)(KEY, BATCH).jaxpr
    assert program.outvars == program.invars[1:]
    assert augment(KEY, BATCH).mix is None


@pytest.mark.parametrize("name", ALL)
def test_the_key_decides_everything_and_only_mixup_says_more_of_targets(name):
    run = _compiled(**{name: ALL[name]})
    one, again, other = jax.device_get([run(jax.random.key(seed), BATCH) for seed in (0, 0, 1)])
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.features != other.features).any()
    assert one.features.shape == IMAGES.shape
    np.testing.assert_array_equal(one.targets, BATCH.targets)
    assert (one.mix is None) == (name != "mixup")


def test_what_an_operation_draws_does_not_depend_on_the_others():
    alone, together = (_compiled(**strengths)(KEY, BATCH) for strengths in ({"mixup": 0.4}, ALL))
    np.testing.assert_array_equal(alone.mix.weight, together.mix.weight)
    shift, both = (_augmented(IMAGES, shift=2, cutout=side) for side in (0, 3))
    square = _augmented(np.ones_like(IMAGES), cutout=3) == 0
    np.testing.assert_allclose(both, np.where(square, 0, shift), atol=1e-6)
    kept = _augmented(np.ones_like(IMAGES), feature_dropout=0.2) != 0
    both = _augmented(IMAGES, noise=0.3, feature_dropout=0.2)
    np.testing.assert_allclose(both, np.where(kept, _augmented(IMAGES, noise=0.3), 0), atol=1e-6)


def test_mapped_over_strengths_each_is_what_it_is_alone():
    several = {name: jnp.array([strength, strength / 2, 0.0]) for name, strength in ALL.items()}
    mapped = jax.jit(jax.vmap(lambda strengths: augment(KEY, BATCH, **strengths)))(several)
    alone = jax.jit(augment)
    for lane in range(3):
        expected = alone(KEY, BATCH, **{name: values[lane] for name, values in several.items()})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[lane], b, atol=1e-5), mapped, expected)  # noqa: B023


_SHARDED = f"""
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tricks.augmentation import augment
from tricks.losses import Batch

mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
images = np.random.default_rng(0).normal(size=(16, 6, 7, 2)).astype(np.float32)
batch = Batch(images, np.arange(16))
run = jax.jit(augment)
one, several = (
    run(jax.random.key(0), jax.device_put(batch, where), **{ALL})
    for where in (jax.devices()[0], NamedSharding(mesh, PartitionSpec("data"))))
assert len(several.features.sharding.device_set) == 8
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *jax.device_get((one, several)))
"""


def test_divided_over_eight_devices_the_batch_is_the_same(tmp_path):
    (tmp_path / "script.py").write_text(_SHARDED)
    done = run_python(tmp_path / "script.py", devices=8, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done.error[-2000:]


def test_of_a_tree_images_move_together_and_integers_stay():
    part, table = IMAGES[:, :5, :5], np.ones((5, 3), np.float32)
    features = {"image": IMAGES, "part": part, "table": table, "twin": table, "words": np.ones((5, 4), np.int32)}
    moved = _augmented(features, shift=2, rotation=20, scale=0.1)
    np.testing.assert_array_equal(moved["table"], table)
    np.testing.assert_allclose(moved["part"], _augmented(part, shift=2, rotation=20, scale=0.1), atol=1e-5)
    disturbed = _augmented(features, noise=0.1, feature_dropout=0.1)
    np.testing.assert_array_equal(disturbed["words"], features["words"])
    assert len({*disturbed["table"].ravel(), *disturbed["twin"].ravel()}) > 20


def test_features_keep_their_type():
    narrow = Batch({"brain": IMAGES.astype(jnp.bfloat16), "half": IMAGES.astype(np.float16)}, BATCH.targets)
    result = _compiled(**ALL)(KEY, narrow).features
    assert [leaf.dtype for leaf in jax.tree.leaves(result)] == [jnp.bfloat16, jnp.float16]
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float32), narrow.features)
    for name, expected in _augmented(wide, **ALL).items():
        np.testing.assert_allclose(result[name].astype(jnp.float32), expected, atol=0.05)


@pytest.mark.parametrize("name", ["shift", "rotation", "scale", "cutout"])
def test_images_are_needed_for_what_is_done_to_images(name):
    with pytest.raises(
        ValueError, match=rf"^{name} is 0.5; it is for floating features \(batch, height, width, .*float32 \(5, 3\)"
    ):
        _augmented(jnp.ones((5, 3)), **{name: 0.5})
    with pytest.raises(ValueError, match=rf"^{name} is .*these are int8 \(5, 3, 3, 1\): choose 0"):
        _augmented(jnp.ones((5, 3, 3, 1), jnp.int8), **{name: 0.5})


@pytest.mark.parametrize("name", ["noise", "feature_dropout"])
def test_floating_features_are_needed_for_what_is_done_to_them(name):
    with pytest.raises(ValueError, match=f"^{name} is 0.1; it is for floating features, and these are int32"):
        _augmented({"words": jnp.ones((5, 3), jnp.int32)}, **{name: 0.1})


def test_mixup_needs_features_that_can_be_mixed_and_are_not():
    with pytest.raises(
        ValueError, match=r"^mixup is 0.4; integers cannot be mixed, and features are float32 \(5, 1\), int"
    ):
        _augmented([jnp.ones((5, 1)), jnp.ones((5, 2), jnp.int32)], mixup=0.4)
    with pytest.raises(ValueError, match=r"^mixup is 0.4; the batch is mixed already"):
        augment(KEY, augment(KEY, BATCH, mixup=0.4), mixup=0.4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [-0.1, math.nan, "large"])
def test_a_strength_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; allowed: "):
        augment(KEY, BATCH, **{name: value})


@pytest.mark.parametrize("name", ["scale", "feature_dropout"])
def test_a_share_is_below_1(name):
    with pytest.raises(ValueError, match=f"^{name} is 1; allowed: 0 <= {name} < 1"):
        augment(KEY, BATCH, **{name: 1})
