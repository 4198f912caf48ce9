"""Who is trained on, validated on and tested on, and in what units; of named sets as ever."""

import itertools

import numpy as np
import pytest

from tricks import streams
from tricks.data import bundled, load, prepared
from tricks.data.raw import Raw
from tricks.data.splits import shares_of_classes
from tricks.errors import UserError


def _parts(data):
    return data.train, data.validation, data.test


def _numbered(targets, **options):
    """Examples whose one feature is their number; the rows of each part."""
    numbers = np.arange(len(targets), dtype=np.float32)
    returned = {"x": numbers, "y": targets, **options.pop("arrays", {})}
    data = load("mine", read=lambda: returned, normalization="none", **options)
    return [part.features.astype(int) for part in _parts(data)]


def _as_ever(features, targets, pixels, regression, seed, fraction, test=None):
    """How parts and units of named sets have been made since the first version: run directories depend on it."""

    def carve(examples, fraction, seed):
        held_out = round(examples * fraction)
        order = np.random.default_rng(seed).permutation(examples)
        return np.sort(order[held_out:]), np.sort(order[:held_out])

    features = features.reshape(len(features), -1)
    if test is None:
        rest, held_out = carve(len(features), 0.2, 0)
        test = features[held_out], targets[held_out]
        features, targets = features[rest], targets[rest]
    train, validation = carve(len(features), fraction, seed)
    parts = [(features[train], targets[train]), (features[validation], targets[validation]), test]
    count, total, squares = len(train), 0.0, 0.0
    shift = parts[0][0][:1].astype(np.float64)
    for start in range(0, count, 4096):
        block = parts[0][0][start : start + 4096] - shift
        total, squares = total + block.sum(axis=0), squares + np.square(block).sum(axis=0)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    scale = np.sqrt(np.maximum(variance, variance.mean()) if pixels else variance)
    scale[scale == 0] = 1.0
    mean, scale = (mean + shift[0]).astype(np.float32), scale.astype(np.float32)
    m, s = (float(parts[0][1].mean()), float(parts[0][1].std())) if regression else (0, 1)
    made = []
    for x, y in parts:
        x = x.reshape(len(x), -1).astype(np.float32)
        x -= mean
        x /= scale
        made.append((x, ((y - m) / s).astype(np.float32) if regression else y.astype(np.int32)))
    return made, mean, scale


def _assert_as_ever(data, expected):
    parts, mean, scale = expected
    np.testing.assert_array_equal(data.feature_mean.ravel(), mean, strict=True)
    np.testing.assert_array_equal(data.feature_scale.ravel(), scale, strict=True)
    for part, (features, targets) in zip(_parts(data), parts, strict=True):
        np.testing.assert_array_equal(part.features.reshape(len(features), -1), features, strict=True)
        np.testing.assert_array_equal(part.targets, targets, strict=True)


@pytest.mark.parametrize(("seed", "fraction"), [(0, 0.1), (7, 0.25)])
@pytest.mark.parametrize("name", bundled.NAMES)
def test_bundled_sets_are_bit_for_bit_as_ever(name, seed, fraction):
    raw = bundled.read(name)
    expected = _as_ever(raw.features, raw.targets, name == "digits", name == "diabetes", seed, fraction)
    _assert_as_ever(load(name, seed=seed, validation_fraction=fraction), expected)


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("own_test", [True, False])
def test_prepared_sets_are_bit_for_bit_as_ever(monkeypatch, pixels, own_test):
    rng = np.random.default_rng(0)
    features = (rng.integers(0, 256, (9000, 6, 5, 1)) * (rng.random((6, 5, 1)) > 0.3)).astype(np.uint8)
    if not pixels:
        features = features / np.float32(7)
    targets = rng.integers(0, 10, 9000).astype(np.int32)
    test = (features[:500], targets[:500]) if own_test else None
    arrays = {"features": features, "targets": targets}
    arrays |= dict(zip(("test_features", "test_targets"), test or (None, None), strict=True))
    raw = Raw(**arrays, classes=10, kinds="pixels" if pixels else "numbers")
    monkeypatch.setattr(prepared, "read", lambda *_, on_disk: raw)
    data = load("made_up", seed=3)
    assert data.train.features.shape[1:] == (6, 5, 1)
    _assert_as_ever(data, _as_ever(features, targets, pixels, False, 3, 0.1, test))


@pytest.mark.parametrize("stratify", ["auto", "no"])
def test_every_example_of_ones_own_is_in_one_part(stratify):
    parts = _numbered(np.arange(101) % 7, stratify=stratify, seed=4)
    assert sorted(np.concatenate(parts)) == [*range(101)]
    assert all((np.diff(part) > 0).all() for part in parts), "in the order of the file"
    again = _numbered(np.arange(101) % 7, stratify=stratify, seed=5)
    np.testing.assert_array_equal(parts[2], again[2], err_msg="all seeds are tested on the same")
    assert not np.array_equal(parts[1], again[1])


def test_without_classes_parts_are_drawn_as_those_of_named_sets():
    train, validation, test = _numbered(np.arange(100) / 7, seed=3, test_fraction=0.3)
    order = streams.split(0).permutation(100)
    np.testing.assert_array_equal(test, np.sort(order[:30]))
    rest = np.sort(order[30:])
    np.testing.assert_array_equal(validation, rest[np.sort(streams.split(3).permutation(70)[:7])])
    assert len(train) == 63


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_in_every_part_that_it_can_be_in(seed):
    sizes = [1000, 100, 10, 5, 3, 2, 1]
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(7), sizes))
    parts = _numbered(targets, seed=seed)
    train, validation, test = (np.bincount(targets[part], minlength=7) for part in parts)
    for counts in (train, validation, test):
        assert (counts[:5] > 0).all()
    assert (train > 0).all(), "what there are few of is trained on first"
    np.testing.assert_allclose(test[:3], [200, 20, 2], atol=1)
    np.testing.assert_allclose(validation[:3], [80, 8, 0.8], atol=1)


@pytest.mark.parametrize("share", [0.05, 0.1, 1 / 3, 0.5, 0.9])
def test_shares_of_classes_are_whole_numbers_beside_the_exact_ones(share):
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(40, 300, rng.integers(2, 12))
        counts = shares_of_classes(sizes, share, to_carve=2)
        assert (abs(counts - sizes * share) < 1).all()
        assert counts.sum() == round(sizes.sum() * share)


def test_where_all_examples_differ_the_draw_is_plain():
    assert [*map(len, _numbered(np.arange(40)))] == [29, 3, 8]


def test_stratifying_named_sets_is_asked_for():
    plain, stratified = load("digits"), load("digits", stratify="yes")
    assert not np.array_equal(plain.test.targets, stratified.test.targets)
    share = np.bincount(stratified.test.targets) / np.bincount(bundled.read("digits").targets)
    np.testing.assert_allclose(share, 0.2, atol=1 / 170)


@pytest.mark.parametrize("of", ["groups", "numbers", "sequences"])
def test_stratifying_what_has_no_classes_is_refused(of):
    targets = {"groups": np.arange(40) % 2, "numbers": np.arange(40) / 7, "sequences": np.eye(40, dtype=int)}[of]
    options = {"arrays": {"who": np.arange(40) // 4}, "group_column": "who"} if of == "groups" else {}
    with pytest.raises(UserError, match=r"data\.stratify is 'yes', but"):
        _numbered(targets, stratify="yes", **options)
    assert sum(map(len, _numbered(targets, **options))) == 40


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", " VALID", "Testing"), ("train", "dev", "test")]
)
def test_parts_by_a_column(names):
    places = np.random.default_rng(0).integers(0, 3, 60)
    parts = _numbered(np.arange(60) % 2, arrays={"part": np.array(names)[places]}, split_column="part")
    for place, part in enumerate(parts):
        np.testing.assert_array_equal(part, np.flatnonzero(places == place))


@pytest.mark.parametrize("lacking", [1, 2])
def test_a_part_that_the_column_lacks_is_drawn_from_training(lacking):
    names = np.array(["train", "validation", "test"])
    names[lacking] = "train"
    places = np.arange(60) % 3
    parts = _numbered(np.arange(60) / 7, arrays={"part": names[places]}, split_column="part")
    given = 3 - lacking
    np.testing.assert_array_equal(parts[given], np.flatnonzero(places == given))
    assert len(parts[lacking]) == round(40 * (0.1 if lacking == 1 else 0.2))
    assert sorted(np.concatenate(parts)) == [*range(60)]


def test_a_column_without_training_is_refused():
    with pytest.raises(UserError, match="no example is for training"):
        _numbered(np.arange(60) % 2, arrays={"part": np.array(["test", "val"] * 30)}, split_column="part")


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(seed, as_text):
    groups = np.random.default_rng(seed).integers(0, 40, 1000)
    who = np.array([f"p{g}" for g in groups]) if as_text else groups
    parts = _numbered(np.arange(1000) % 2, arrays={"who": who}, group_column="who", seed=seed)
    held = [{*groups[part]} for part in parts]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]  # noqa: PT018
    assert len(parts[2]) == pytest.approx(200, abs=15)
    assert len(parts[1]) == pytest.approx(80, abs=15)


def test_few_and_uneven_groups_leave_one_for_each_part():
    groups = np.repeat([0, 1, 2], [90, 5, 5])
    parts = _numbered(np.arange(100) % 2, arrays={"who": groups}, group_column="who")
    assert sorted(len({*groups[part]}) for part in parts) == [1, 1, 1]
    assert len(parts[0]) == 90
    with pytest.raises(UserError, match=r"data\.group_column has 2 different values where 3 parts"):
        _numbered(np.arange(100) % 2, arrays={"who": groups // 2}, group_column="who")


def test_a_column_that_tears_groups_apart_is_refused():
    arrays = {"who": np.arange(40) // 4, "part": np.array(["train"] * 30 + ["test"] * 10)}
    with pytest.raises(UserError, match=r"one group of data\.group_column both into train and, in row 31, into test"):
        _numbered(np.arange(40) % 2, arrays=arrays, group_column="who", split_column="part")


def test_a_share_of_the_training_examples_is_a_part_of_a_larger_share():
    sets = [_numbered(np.arange(500) % 3, train_fraction=share, seed=2) for share in (0.1, 0.3, 0.9, 1.0)]
    for (few, *held), (more, *as_held) in itertools.pairwise(sets):
        assert {*few} < {*more}
        for one, other in zip(held, as_held, strict=True):
            np.testing.assert_array_equal(one, other)
    all_of_it = sets[3][0]
    drawn = streams.training_subset(2).permutation(len(all_of_it))[: round(0.1 * len(all_of_it))]
    np.testing.assert_array_equal(sets[0][0], np.sort(all_of_it[drawn]))
    assert {*sets[0][0]} != {*_numbered(np.arange(500) % 3, train_fraction=0.1, seed=3)[0]}


@pytest.mark.parametrize("fraction", [0.0, 0.0001, 1.5])
def test_a_share_of_nothing_is_refused(fraction):
    with pytest.raises(UserError, match=r"data\.train_fraction is .* of the 360 training examples"):
        _numbered(np.arange(500) % 3, train_fraction=fraction)


@pytest.mark.parametrize(("normalization", "axes"), [("feature", (0,)), ("channel", (0, 1, 2))])
def test_units_are_those_of_what_is_trained_on(normalization, axes):
    images = np.random.default_rng(0).gamma(2.0, [3.0, 50.0], size=(200, 4, 5, 2))
    options = {"normalization": normalization, "train_fraction": 0.5, "seed": 1}
    data = load("mine", read=lambda: (images, images[:, 0, 0, 0]), **options)
    assert len(data.train.targets) == 72
    trained = data.train.features * data.feature_scale + data.feature_mean
    assert data.feature_mean.shape == data.feature_scale.shape == (4, 5, 2)
    for found, expected in ((data.feature_mean, trained.mean(axes)), (data.feature_scale, trained.std(axes))):
        np.testing.assert_allclose(found, np.broadcast_to(expected, (4, 5, 2)), rtol=1e-4)
    np.testing.assert_allclose(data.train.features.mean(axes, dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.features.std(axes, dtype=np.float64), 1, rtol=1e-4)


def test_without_normalization_features_are_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4)).astype(np.uint8)
    data = load("mine", read=lambda: (images, np.arange(60) % 2), normalization="none")
    assert data.feature_mean is data.feature_scale is None
    assert {image.tobytes() for part in _parts(data) for image in part.features} == {
        image.astype(np.float32).tobytes() for image in images
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"normalization": "batch"}, r"data\.normalization is 'batch'; allowed: feature, channel, none"),
        ({"stratify": True}, r"data\.stratify is True; allowed: auto, yes, no"),
        ({"test_fraction": 0.001}, r"data\.test_fraction is 0\.001; of the 60 training examples of 'mine'"),
    ],
)
def test_nonsense_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        load("mine", read=lambda: (np.eye(60), np.arange(60) % 2), **options)
