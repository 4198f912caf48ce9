"""Measurements of data: closed forms, other libraries, and faults planted in data that have none."""

import json
from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from tricks.data import Split, label_noise, load
from tricks.diagnosis.measurements import duplicates, examples, features, kernels, labels, shift

digits = cache(lambda: load("digits"))
breast_cancer = cache(lambda: load("breast_cancer"))
SEEDS = range(3)


def _splits(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


def _gaussians(n, seed, *, apart=2.5631, width=2):
    """Two classes with a Bayes error of 10 %, unless they are nearer."""
    draw = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    rows = draw.normal(size=(n, width))
    rows[:, 0] += apart * targets
    return rows, targets


def _flipped(targets, share, seed, classes=2):
    draw = np.random.default_rng(seed)
    wrong = draw.permutation(len(targets))[: round(share * len(targets))]
    targets = targets.copy()
    targets[wrong] = (targets[wrong] + draw.integers(1, classes, len(wrong))) % classes
    return targets


# Rows


def test_features_of_any_tree_become_rows():
    tree = {
        "image": np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
        "sick": np.array([True, False]),
        "words": np.ones((2, 3), np.int32),
        "bytes": np.ones((2, 3), np.uint8),
        "age": np.array([[1.0], [np.nan]]),
    }
    rows = examples.rows_of(tree)
    assert rows.names == ("age[0]", "image[0, 0]", "image[0, 1]", "image[1, 0]", "image[1, 1]", "sick")
    assert rows.values.tolist() == [[1, 0, 1, 2, 3, 1], [0, 4, 5, 6, 7, 0]]
    assert rows.tokens == ("bytes", "words")
    assert rows.non_finite == 1
    assert (rows.arrays[1:5] == rows.arrays[1]).all()
    assert rows.arrays[[0, 5]].tolist() == [-1, -1]
    assert examples.rows_of(np.ones((2, 3)), "abc").names == ("a", "b", "c")
    with pytest.raises(ValueError, match="names are 2; allowed: one for each of the 3 columns"):
        examples.rows_of(np.ones((2, 3)), ["a", "b"])


def test_positions_of_one_array_share_a_smallest_scale_and_columns_of_a_table_do_not():
    values = np.array([[0, 0.0, 5], [0, 8.0, 5], [0, 0.0, 5], [4, 8.0, 5]], np.float32)
    mean, deviation = examples.moments(examples.rows_of(values))
    assert mean.tolist() == [1, 4, 5]
    assert deviation == pytest.approx([3**0.5, 4, 0])
    assert examples.scales_of(examples.rows_of(values), deviation) == pytest.approx([3**0.5, 4, 1])
    image = examples.rows_of(values[:, None])
    assert examples.scales_of(image, deviation) == pytest.approx([(19 / 3) ** 0.5, 4, (19 / 3) ** 0.5])
    far = examples.standardized(examples.rows_of(np.r_[np.zeros(999), 1].reshape(-1, 1)))
    assert far.max() == 5
    # Rounding of a large constant is none.
    assert examples.moments(examples.rows_of(np.array([[1e6], [1e6 + 0.0625]])))[1].tolist() == [0]


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)])
def test_the_interval_of_a_share_is_wilsons(hits, n, low, high):
    assert examples.wilson(hits, n) == pytest.approx([low, high], abs=1e-4)
    assert examples.wilson(0, 0) == [0, 1]


@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_held_out_predictions_are_those_of_fits_without_the_fold(ridge):
    draw = np.random.default_rng(0)
    rows, targets, folds = draw.normal(size=(30, 3)), draw.normal(size=(30, 2)), np.arange(30) % 4
    kernel = kernels.gaussian(kernels.squared_distances(rows, rows))
    naive = np.empty((30, 2))
    for fold in range(4):
        rest, own = folds != fold, folds == fold
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 1 + ridge * np.eye(rest.sum()), targets[rest])
        naive[own] = (kernel[np.ix_(own, rest)] + 1) @ weights
    assert kernels.held_out(kernel, targets, ridge, folds) == pytest.approx(naive, abs=1e-4)
    squared = kernels.squared_distances(rows, rows)
    assert kernel == pytest.approx(np.exp(-squared / np.median(squared[squared > 0])))


# Scales


def test_scales_of_features_by_hand():
    rows = np.array([[0.0, 10, 7, 0], [2, 10, 7, 0], [0, 30, 7, 0], [2, 30, 7, 0]])
    found = features.scales(rows, ["a", "b", "c", "d"])
    assert found["scale_ratio"] == 10
    assert found["second_moment_ratio"] == 500 / 2
    assert found["largest_offset"] == 2
    assert (found["constant"], found["constant_count"], found["dimensions"]) == (["c", "d"], 2, 4)
    assert found["widest"] == [["b", 10.0], ["a", 1.0], ["c", 0.0], ["d", 0.0]]
    assert found["narrowest"] == [["a", 1.0], ["b", 10.0]]
    second = rows[:, :2].T @ rows[:, :2] / 4
    assert found["condition"] == pytest.approx(np.linalg.eigvalsh(second)[-1] / 50.5, rel=1e-4)
    assert found["top_share"] == pytest.approx(np.linalg.eigvalsh(second)[-1] / 502, rel=1e-4)
    assert found["condition_standardized"] == pytest.approx(1, rel=1e-4)
    assert not found["normalized"]


@pytest.mark.parametrize("n", [40, 400])
def test_the_largest_eigenvalue_is_that_of_numpy_for_few_and_for_many_examples(n):
    rows = np.random.default_rng(0).normal(1, size=(n, 100)).astype(np.float32)
    largest = np.linalg.eigvalsh(rows.T @ rows / n)[-1]
    found = features.scales(rows)
    assert found["condition"] == pytest.approx(largest / np.median(rows.var(axis=0)), rel=1e-3)


@pytest.mark.parametrize("data", [digits, breast_cancer])
def test_normalized_data_are_seen_as_such_and_a_planted_scale_is_found(data):
    train = data().train.features
    assert features.scales(train)["normalized"]
    assert features.scales(train)["scale_ratio"] < 6
    column = np.arange(train[0].size) == 20
    for planted in (train * np.where(column, 1000, 1).reshape(train.shape[1:]), train * 50, train + 5):
        assert not features.scales(planted.astype(np.float32))["normalized"]
    wide = features.scales(train.reshape(len(train), -1) * np.where(column, 1000, 1))
    assert wide["scale_ratio"] > 500
    assert wide["widest"][0][0] == "20"
    assert wide["condition"] > 1e5


def test_offsets_slow_descent_down_though_no_scale_differs():
    rows = np.random.default_rng(0).normal(size=(1000, 10))
    plain, moved = features.scales(rows), features.scales(rows + 30)
    assert plain["condition"] < 1.5
    assert moved["condition"] == pytest.approx(10 * 900, rel=0.1)
    assert moved["condition_standardized"] < 1.5
    assert moved["scale_ratio"] == pytest.approx(plain["scale_ratio"], rel=1e-3)
    assert moved["largest_offset"] == pytest.approx(30, rel=0.1)


def test_pixels_that_are_hardly_ever_inked_are_no_bad_scale():
    images = np.random.default_rng(0).random((1000, 4, 4, 1)).astype(np.float32)
    images[:, 0, 0] = 0
    images[:, 0, 1] = 0
    images[:3, 0, 1] = 0.01
    found = features.scales(images)
    assert found["scale_ratio"] < 1.2
    assert (found["constant"], found["rare_count"]) == (["0, 0, 0"], 1)


def test_where_all_columns_are_rare_they_are_judged():
    rows = np.zeros((200, 3))
    rows[:4, 0], rows[:4, 1] = 1, 7
    found = features.scales(rows)
    assert found["scale_ratio"] == pytest.approx(7, rel=1e-5)  # The rows are float32.
    assert (found["constant"], found["rare_count"]) == (["2"], 0)
    assert features.scales(np.array([[1.0, 0.0], [2.0, 9.0]]))["scale_ratio"] == 9


def test_normalization_by_channel_is_one():
    images = np.random.default_rng(0).normal(size=(300, 5, 5, 2)) * np.array([0.1, 0.1, 0.1, 0.1, 3])[:, None, None]
    images = (images - images.mean()) / images.std()
    assert features.scales(images)["normalized"]
    assert not features.scales(images.reshape(300, -1))["normalized"]


def test_what_cannot_be_judged_of_features_is_none():
    tokens = features.scales(np.ones((5, 9), np.int32))
    assert (tokens["tokens"], tokens["scale_ratio"], tokens["constant"]) == (["features"], None, None)
    same = features.scales(np.ones((5, 2)))
    assert (same["constant_count"], same["scale_ratio"], same["normalized"]) == (2, None, False)
    assert features.scales(np.array([[1.0, np.inf], [2.0, np.nan], [3.0, 1.0]]))["non_finite"] == 2


# Labels


def test_balance_of_classes_by_hand():
    found = labels.quality(
        {"train": (np.ones((6, 1)), np.array([0, 0, 0, 0, 1, 1])), "test": (np.ones((2, 1)), np.array([2, 0]))}
    )
    assert found["counts"] == {"0": 4, "1": 2, "2": 0}
    assert found["missing"] == {"train": [2], "test": [1]}
    assert (found["rarest_share"], found["imbalance_ratio"], found["estimated_noise"]) == (0, None, None)
    two = labels.quality({"train": (np.ones((6, 1)), np.array([0, 0, 0, 0, 1, 1]))}, classes=2)
    assert (two["rarest_share"], two["imbalance_ratio"]) == (1 / 3, 2)


def test_disagreement_with_neighbours_is_that_of_looking_at_each():
    rows, targets = _gaussians(150, 0)
    units = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    shares = []
    for place in range(150):
        distances = np.linalg.norm(units - units[place], axis=1)
        nearest = [other for other in np.argsort(distances) if other != place][:10]
        shares.append((targets[nearest] != targets[place]).mean())
    found = labels.quality({"train": (rows, targets)})
    assert found["neighbour_disagreement"] == pytest.approx(np.mean(shares))
    half = 1.96 * np.std(shares) / 150**0.5
    assert found["interval"] == pytest.approx([np.mean(shares) - half, np.mean(shares) + half], rel=1e-3)
    assert found["expected_disagreement"] == 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_planted_wrong_labels_are_counted(share, seed):
    noisy = label_noise.with_label_noise(digits(), share, seed)
    found = labels.quality({"train": noisy.train}, classes=10, seed=seed)
    # Of 430 examples: three standard errors.
    assert found["estimated_noise"] == pytest.approx(share, abs=3 * (share * (1 - share) / 430) ** 0.5)
    low, high = found["noise_interval"]
    assert share / 3 < low < found["estimated_noise"] < high
    assert found["neighbour_disagreement"] > share
    assert found["held_out_disagreement"] >= found["estimated_noise"] - 0.03


@pytest.mark.parametrize("data", [digits, breast_cancer])
def test_clean_labels_are_found_clean(data):
    found = labels.quality(_splits(data()))
    assert found["estimated_noise"] < 0.01
    assert found["noise_interval"][0] == 0
    assert found["held_out_disagreement"] < 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_that_overlap_are_not_taken_for_wrong_labels(seed):
    rows, targets = _gaussians(1000, seed)
    clean = labels.quality({"train": (rows, targets)})
    assert 0.07 < clean["held_out_disagreement"] < 0.13  # The Bayes error is .1.
    assert clean["estimated_noise"] < 0.04
    assert clean["noise_interval"][0] == 0
    noisy = labels.quality({"train": (rows, _flipped(targets, 0.2, seed))})
    assert 0.15 < noisy["estimated_noise"] < 0.26
    assert noisy["noise_interval"][0] > 0.08
    # Nearer ones: not told from a few wrong labels, and said so.
    near = labels.quality({"train": _gaussians(1000, seed, apart=1.6832)})
    assert near["noise_interval"][0] < 0.03
    assert near["estimated_noise"] < near["held_out_disagreement"] / 2
    assert near["disagreement_by_confidence"][0] < near["disagreement_by_confidence"][-1] - 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_said_of_labels_that_features_do_not_tell(seed):
    draw = np.random.default_rng(seed)
    found = labels.quality({"train": (draw.normal(size=(400, 5)), draw.integers(0, 2, 400))})
    assert (found["estimated_noise"], found["noise_interval"]) == (None, None)
    assert found["neighbour_disagreement"] == pytest.approx(0.5, abs=0.06)


def test_labels_of_held_out_examples_are_held_against_predictions():
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 3, 600)
    sure = np.eye(3)[targets] * draw.uniform(0.5, 1, 600)[:, None]
    train = (np.ones((3, 1)), np.arange(3))
    noisy = _flipped(targets, 0.3, 0, classes=3)
    for given, share in ((targets, 0), (noisy, 0.3)):
        found = labels.quality({"train": train, "test": (np.ones((600, 1)), given)}, predictions={"test": sure})
        assert found["held_out"]["test"]["disagreement"] == pytest.approx(share)
        assert found["held_out"]["test"]["estimated_noise"] == pytest.approx(share, abs=0.1)


def test_the_surest_of_each_class_are_looked_at():
    # Class 1 is never predicted surely, and all its labels are wrong.
    probabilities = np.array([[0.9, 0.1]] * 200 + [[0.4, 0.6]] * 100)
    found = labels.quality(
        {"train": (np.ones((2, 1)), np.arange(2)), "test": (np.ones((300, 1)), np.zeros(300, int))},
        predictions={"test": probabilities},
    )["held_out"]["test"]
    assert found["estimated_noise"] == pytest.approx(1 / 3, abs=0.01)
    assert found["disagreement_by_confidence"] == pytest.approx([1 / 3] * 6, abs=0.02)


def test_the_estimate_follows_disagreement_to_where_it_falls_no_more():
    probabilities = np.stack([np.linspace(1, 0.6, 1200), np.linspace(0, 0.4, 1200)], axis=1)

    def found(*wrong):
        """Of shares of wrong labels in sixths, surest first."""
        targets = np.concatenate([np.arange(200) % 10 < 10 * share for share in wrong]).astype(int)
        splits = {"train": (np.ones((2, 1)), np.arange(2)), "test": (np.ones((1200, 1)), targets)}
        return labels.quality(splits, predictions={"test": probabilities})["held_out"]["test"]

    falling = found(0, 0.3, 0.4, 0.4, 0.5, 0.5)
    assert falling["estimated_noise"] == 0
    assert falling["disagreement_by_confidence"] == pytest.approx([0, 0.3, 0.4, 0.4, 0.5, 0.5])
    flat = found(0.3, 0.3, 0.3, 0.3, 1, 1)
    assert flat["estimated_noise"] == pytest.approx(0.3)
    # Of a line through 800 examples: .3 - 1.96 x 2 x .458 / 800^(1/2).
    assert flat["noise_interval"][0] == pytest.approx(0.236, abs=0.01)
    assert flat["noise_interval"][1] == examples.wilson(120, 400)[1]
    rising = found(0.1, 0.2, 0.3, 0.4, 0.5, 0.5)
    assert rising["noise_interval"][0] < 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_targets_that_are_numbers_are_held_against_a_regression(seed):
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(600, 3))
    smooth = np.sin(rows[:, 0]) + rows[:, 1]
    noisy = 1000 + smooth + smooth.std() * draw.normal(size=600)
    found = labels.quality({"train": (rows, noisy)})
    assert 0.4 < found["explained"] < 0.55
    assert found["outlier_share"] < 0.01
    noisy[:30] += 15
    assert labels.quality({"train": (rows, noisy)})["outlier_share"] == pytest.approx(0.05, abs=0.005)
    assert labels.quality({"train": (rows, np.ones(600))})["explained"] is None


def test_labels_of_tokens_are_judged_by_their_balance_alone():
    found = labels.quality({"train": (np.ones((300, 4), np.int32), np.arange(300) % 3)})
    assert found["imbalance_ratio"] == 1
    assert found["neighbour_disagreement"] is None
    many = labels.quality({"train": (np.ones((300, 4)), np.arange(600).reshape(300, 2) % 3)})
    assert many["estimated_noise"] is None


# Duplicates


@pytest.mark.parametrize("data", [digits, breast_cancer])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.01])
def test_planted_copies_are_found_and_none_else(data, noise):
    splits, draw = _splits(data()), np.random.default_rng(0)
    train, test = splits["train"], splits["test"]
    found = duplicates.shares(splits)
    assert [found[key]["count"] for key in ("within_train", "train_in_validation", "train_in_test")] == [0, 0, 0]
    copied = test.features.copy()
    copied[:30] = train.features[50:80] + noise * train.features.std(axis=0) * draw.normal(size=copied[:30].shape)
    targets = np.concatenate([train.targets[50:80], test.targets[30:]])
    targets[0] = 1 - min(targets[0], 1)
    found = duplicates.shares(splits | {"test": Split(copied, targets)})["train_in_test"]
    assert found["pairs"] == [[place, 50 + place] for place in range(5)]
    assert (found["count"], found["share"]) == (30, 30 / len(targets))
    assert found["same_labels"] == pytest.approx(29 / 30)
    assert found["exact"] == (0 if noise else 30 / len(targets))
    assert found["interval"] == examples.wilson(30, len(targets))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_examples_copied_before_they_were_split(noise):
    train = digits().train
    twice = np.concatenate([train.features, train.features + noise * np.random.default_rng(0).normal(size=(8, 8, 1))])
    order = np.random.default_rng(1).permutation(len(twice))
    targets = np.tile(train.targets, 2)[order]
    parts = {"train": (twice[order][:2000], targets[:2000]), "test": (twice[order][2000:], targets[2000:])}
    found = duplicates.shares(parts)
    assert found["within_train"]["share"] == found["expected"] == pytest.approx(2000 / 2588, abs=0.03)
    assert found["train_in_test"]["share"] == pytest.approx(2000 / 2588, abs=0.05)
    assert found["expected_if_independent"] < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_of_few_values_repeat_by_nature(seed):
    draw = np.random.default_rng(seed)
    train, test = draw.integers(0, 3, (1000, 7)) * 1.0, draw.integers(0, 3, (1000, 7)) * 1.0
    found = duplicates.shares({"train": (train, np.zeros(1000)), "test": (test, np.zeros(1000))})
    chance = 1 - (1 - 3**-7) ** 1000
    assert found["expected"] == pytest.approx(chance, abs=0.06)
    assert found["train_in_test"]["share"] == pytest.approx(chance, abs=0.06)
    assert found["expected_if_independent"] == pytest.approx(1000 / 3**7, rel=0.02)
    fewer = {"train": (train[:, :4], np.zeros(1000))}
    assert duplicates.shares(fewer)["expected_if_independent"] == 1
    rows = {tuple(row) for row in train}
    assert found["train_in_test"]["count"] == sum(tuple(row) in rows for row in test)


def test_copies_are_counted_once_and_none_is_its_own():
    rows = np.random.default_rng(0).normal(size=(40, 4))
    rows[[7, 9]] = rows[3]
    rows[5, 0], rows[6] = 0.0, rows[5]
    rows[6, 0] = -0.0
    found = duplicates.shares({"train": (rows, np.arange(40))})
    assert found["within_train"]["count"] == 5
    assert {first for first, _ in found["within_train"]["pairs"]} == {3, 5, 6, 7, 9}
    assert all(first != second for first, second in found["within_train"]["pairs"])
    assert found["within_train"]["same_labels"] == 0
    assert (found["train_in_test"], found["train_in_validation"]) == (None, None)


def test_equal_tokens_are_copies_and_like_ones_are_not():
    words = np.random.default_rng(0).integers(0, 1000, (100, 8))
    tree = {"words": words, "weight": np.ones((100, 1))}
    other = {"words": np.concatenate([words[:20], words[20:40] + 1]), "weight": np.ones((40, 1))}
    found = duplicates.shares({"train": (tree, np.zeros(100)), "test": (other, np.zeros(40))})
    assert found["train_in_test"]["share"] == 0.5
    assert found["distance"] is None


def test_in_few_dimensions_what_is_near_by_chance_is_no_copy():
    draw = np.random.default_rng(0)
    for width in (1, 2, 3):
        parts = {name: (draw.normal(size=(2000, width)), np.zeros(2000)) for name in ("train", "test")}
        assert duplicates.shares(parts)["train_in_test"]["share"] < 0.02


# Shift


def _pair(first, second, targets=(None, None)):
    return {
        "train": (first, np.zeros(len(first), int) if targets[0] is None else targets[0]),
        "test": (second, np.zeros(len(second), int) if targets[1] is None else targets[1]),
    }


def test_without_a_shift_the_test_keeps_its_level():
    draw = np.random.default_rng(0)
    found = [shift.probe(_pair(draw.normal(size=(60, 4)), draw.normal(size=(30, 4))), permutations=199, seed=seed)
             for seed in range(200)]  # fmt: skip
    p_values = np.array([one["train_test"]["p_value"] for one in found])
    # Of 200 draws, more than 7 at 1 % or 18 at 5 % would come once in 1,000 times.
    assert (p_values <= 0.01).sum() <= 7
    assert (p_values <= 0.05).sum() <= 18
    assert np.mean([one["train_test"]["auc"] for one in found]) == pytest.approx(0.5, abs=0.015)
    inside = [one["train_test"]["interval"][0] < 0.5 < one["train_test"]["interval"][1] for one in found]
    assert 0.88 < np.mean(inside) < 0.995


def _of_digits(change):
    rows = np.random.default_rng(1).permutation(1294)
    images = digits().train.features[rows]
    return images[:900], change(images[900:], digits().train.targets[rows[900:]])


SHIFTS = {
    "mean": lambda draw: draw + 0.2,
    "scale": lambda draw: draw * 1.25,
    "one feature": lambda draw: draw + 0.8 * (np.arange(20) == 7),
    "scale of one": lambda draw: draw * np.where(np.arange(20) == 7, 2, 1),
    "brightness": lambda images, _: images + 0.2,
    "contrast": lambda images, _: images * 1.2,
    "a pixel to the side": lambda images, _: np.roll(images, 1, axis=2),
    "quarter turn": lambda images, _: np.rot90(images, axes=(1, 2)),
    "class prior": lambda images, targets: images[targets > 5],
}


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_are_seen(name):
    if name in ("mean", "scale", "one feature", "scale of one"):
        draw = np.random.default_rng(0)
        first, second = draw.normal(size=(600, 20)), SHIFTS[name](draw.normal(size=(300, 20)))
    else:
        first, second = _of_digits(SHIFTS[name])
    found = shift.probe(_pair(first, second))["train_test"]
    assert found["p_value"] < 0.01
    assert found["interval"][0] > 0.5
    if name in ("one feature", "scale of one"):
        assert [place for place, _ in found["features"]] == ["7"]


def test_a_correlation_alone_is_seen():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(800, 4)), draw.normal(size=(800, 4))
    second[:, 1] = 0.8 * second[:, 0] + 0.6 * second[:, 1]
    found = shift.probe(_pair(first, second))["train_test"]
    assert (found["p_value"] < 0.01, found["differing"]) == (True, 0)


def test_the_splits_of_data_drawn_at_random_do_not_differ():
    for data in (digits(), breast_cancer()):
        found = shift.probe(_splits(data), data.columns)
        for name in ("train_test", "train_validation"):
            assert found[name]["p_value"] > 0.01
            assert found[name]["labels_p_value"] > 0.01


def test_distances_of_features_and_shifts_of_labels_are_those_of_scipy():
    draw = np.random.default_rng(0)
    first = np.stack([draw.normal(size=400), draw.integers(0, 4, 400)], axis=1)
    second = np.stack([draw.normal(0.5, 1, size=200), draw.integers(1, 4, 200)], axis=1)
    targets = draw.integers(0, 3, 400), draw.integers(0, 4, 200)
    found = shift.probe(_pair(first, second, targets), ["a", "b"])["train_test"]
    by_scipy = {name: ks_2samp(first[:, place], second[:, place]).statistic for place, name in enumerate("ab")}
    assert dict(found["features"]) == pytest.approx(by_scipy)
    assert [name for name, _ in found["features"]] == sorted(by_scipy, key=by_scipy.get, reverse=True)
    counts = [np.bincount(part, minlength=4) for part in targets]
    assert found["labels_p_value"] == pytest.approx(chi2_contingency(counts).pvalue)
    numbers = first[:, 0], second[:, 0] - 0.35
    found = shift.probe(_pair(first, second, numbers))["train_test"]
    assert found["labels_p_value"] == pytest.approx(ks_2samp(*numbers, method="asymp").pvalue, rel=0.1)


def test_rare_classes_are_counted_as_one():
    first, second = np.repeat([0, 1, 2, 3], [600, 5, 4, 3]), np.repeat([0, 1, 2, 3], [200, 0, 0, 1])
    found = shift.probe(_pair(np.ones((612, 1)), np.ones((201, 1)), (first, second)))["train_test"]
    pooled = chi2_contingency([[600, 12], [200, 1]], correction=False).pvalue
    assert found["labels_p_value"] == pytest.approx(pooled)
    assert shift.probe(_pair(np.ones((50, 1)), np.ones((50, 1))))["train_test"]["labels_p_value"] == 1


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    draw = np.random.default_rng(0)
    scores, ones, folds = draw.normal(size=50), draw.random(50) < 0.3, np.arange(50) % 5
    pairs = [
        scores[i] < scores[j] for i in range(50) for j in range(50) if folds[i] == folds[j] and ones[j] and not ones[i]
    ]
    assert shift._aucs(scores[:, None], ones[:, None], folds) == pytest.approx(np.mean(pairs))


def test_discoveries_are_those_of_benjamini_and_hochberg():
    # Adjusted: .004, .01 (of .005 x 4 / 2), none.
    places, simes = shift._discoveries(np.array([0.5, 0.005, 0.9, 0.001]))
    assert (sorted(places), simes) == ([1, 3], 0.004)
    assert len(shift._discoveries(np.array([0.5, 0.9]))[0]) == 0


def test_too_few_examples_are_not_probed():
    draw = np.random.default_rng(0)
    for few, judged in ((9, False), (10, True)):
        found = shift.probe(_pair(draw.normal(size=(30, 2)), draw.normal(size=(few, 2))))["train_test"]
        assert (found["auc"] is not None) == judged
        assert (found["labels_p_value"] is not None) == judged


def test_tokens_are_probed_for_their_labels_alone():
    found = shift.probe(_pair(np.ones((90, 4), np.int32), np.ones((90, 4), np.int32)))
    assert found["train_test"]["auc"] is None
    assert found["train_test"]["labels_p_value"] == 1
    assert found["train_validation"] is None


# All


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_measurements_are_json_and_repeat(name):
    data = load(name)
    splits = _splits(data)

    def measured():
        return (
            features.scales(data.train.features, data.columns),
            labels.quality(splits, classes=data.classes),
            duplicates.shares(splits),
            shift.probe(splits, data.columns, permutations=99),
        )

    assert json.dumps(measured(), allow_nan=False) == json.dumps(measured(), allow_nan=False)
