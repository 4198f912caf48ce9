"""Real data sets through the one interface; damaged and missing ones."""

import gzip
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from sklearn import datasets

from conftest import MNIST_FILES, run_python, train
from tricks.data import bundled, load, prepared
from tricks.data.records import Records
from tricks.errors import UserError


def test_without_scikit_learn_its_sets_name_it(monkeypatch):
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="scikit-learn, which carries this data set"):
        bundled.read("digits")


@pytest.mark.parametrize(
    ("name", "examples", "features", "classes"),
    [("digits", 1797, (8, 8, 1), 10), ("breast_cancer", 569, (30,), 2), ("diabetes", 442, (10,), None)],
)
def test_bundled_sets(name, examples, features, classes):
    data = load(name, validation_fraction=0.2, seed=3)
    splits = (data.train, data.validation, data.test)
    assert sum(len(s.targets) for s in splits) == examples
    assert data.classes == classes
    for split in splits:
        assert split.features.shape == (len(split.targets), *features)
        assert split.features.dtype == np.float32
        assert split.targets.dtype == (np.int32 if classes else np.float32)
    assert len(data.test.targets) == round(0.2 * examples)
    assert len(data.validation.targets) == round(0.2 * (examples - len(data.test.targets)))


@pytest.mark.parametrize("name", bundled.NAMES)
def test_bundled_sets_are_what_scikit_learn_loads(name):
    options = {"scaled": False} if name == "diabetes" else {}
    features, targets = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    raw = bundled.read(name)
    np.testing.assert_array_equal(raw.features.reshape(len(features), -1), features)
    np.testing.assert_array_equal(raw.targets, targets)


def _restored(data, split):
    return split.features * data.feature_scale + data.feature_mean


def test_every_example_is_in_exactly_one_split():
    data = load("digits", seed=1)
    ours = np.concatenate([np.round(_restored(data, s)) for s in (data.train, data.validation, data.test)])
    theirs = datasets.load_digits().data
    assert sorted(map(tuple, ours.reshape(len(ours), -1))) == sorted(map(tuple, theirs))


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_normalized_by_the_training_part_only(name):
    data = load(name)
    features = data.train.features.astype(np.float64)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, rtol=1e-4)
    assert abs(data.validation.features.mean(axis=0)).max() > 0.01, "validation must not be centred by itself"


def test_pixels_that_hardly_vary_are_not_amplified():
    data = load("digits")
    pixels = _restored(data, data.train).astype(np.float64)
    np.testing.assert_allclose(data.feature_mean, pixels.mean(axis=0), atol=1e-4)
    expected = np.sqrt(np.maximum(pixels.var(axis=0), pixels.var(axis=0).mean()))
    np.testing.assert_allclose(data.feature_scale, expected, rtol=1e-4)
    assert abs(data.test.features).max() < 5


def test_regression_targets_are_standardized_by_the_training_part():
    data = load("diabetes")
    assert abs(data.train.targets.mean()) < 1e-6
    assert data.train.targets.std() == pytest.approx(1, rel=1e-5)
    assert abs(data.test.targets.mean()) > 1e-4


def test_the_seed_draws_validation_and_leaves_test_alone():
    a, b, c = load("digits", seed=0), load("digits", seed=0), load("digits", seed=1)
    np.testing.assert_array_equal(a.validation.features, b.validation.features)
    np.testing.assert_array_equal(a.test.targets, c.test.targets)
    assert not np.array_equal(a.validation.targets, c.validation.targets)


def test_empty_split_is_refused():
    with pytest.raises(UserError, match=r"validation_fraction is 1e-06.*1438 training examples"):
        load("digits", validation_fraction=1e-6)


def test_unknown_set_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match="did you mean digits"):
        load("digts", directory=str(tmp_path))


def test_set_that_is_not_prepared_is_refused_with_the_command(tmp_path):
    with pytest.raises(UserError, match=r"python scripts/prepare_data.py fashion_mnist --data_dir="):
        load("fashion_mnist", directory=str(tmp_path))


@pytest.mark.parametrize("name", ["../etc", "a b", "/tmp", "a/../b"])
def test_odd_names_are_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"data\.name|unknown data set"):
        load(name, directory=str(tmp_path))


def test_mnist_is_prepared_from_its_original_files(mnist_directory):
    data = load("mnist", directory=str(mnist_directory))
    assert [len(s.targets) for s in (data.train, data.validation, data.test)] == [54_000, 6_000, 10_000]
    assert data.classes == 10
    assert data.train.features.shape[1:] == (28, 28, 1)
    images = np.frombuffer(
        gzip.decompress((MNIST_FILES / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    )
    labels = np.frombuffer(
        gzip.decompress((MNIST_FILES / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8
    )
    shown = np.round(_restored(data, data.test))
    # TFDS stores the examples in an order of its own.
    ours = sorted(
        (int(label), image.tobytes()) for label, image in zip(data.test.targets, shown.astype(np.uint8), strict=True)
    )
    theirs = sorted((int(label), image.tobytes()) for label, image in zip(labels, images.reshape(-1, 784), strict=True))
    assert ours == theirs


def test_second_start_reads_the_cache_and_not_the_records(mnist_directory, tmp_path, monkeypatch):
    root = tmp_path / "data"
    shutil.copytree(mnist_directory, root)
    raw = prepared.read("mnist", str(root))
    for records in (root / "mnist").rglob("*.array_record*"):
        records.unlink()
    monkeypatch.setattr(prepared, "_tensorflow_datasets", lambda: pytest.fail("the cache was not used"))
    again = prepared.read("mnist", str(root))
    for one, other in zip(raw, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_set_is_prepared_a_few_examples_at_a_time(mnist_directory, tmp_path, monkeypatch):
    (tmp_path / "mnist").symlink_to(mnist_directory / "mnist")
    (version,) = (tmp_path / "mnist").iterdir()
    stored, most = prepared._stored("mnist", version), []
    for features in (stored.features, stored.test_features):
        features.shape = (1000, *features.shape[1:])
    stored = stored._replace(targets=stored.targets[:1000], test_targets=stored.test_targets[:1000])
    once = Records.__getitem__
    monkeypatch.setattr(prepared, "_stored", lambda *_: stored)
    monkeypatch.setattr(Records, "__getitem__", lambda self, rows: most.append(rows.stop) or once(self, rows))
    for _ in range(2):
        assert isinstance(prepared.read("mnist", str(tmp_path), on_disk=True).features, np.memmap)
    assert most == [256, 512, 768, 1024] * 2
    whole = prepared.read("mnist", str(mnist_directory))
    for one, other in zip(prepared.read("mnist", str(tmp_path))[:3], whole[:3], strict=True):
        np.testing.assert_array_equal(one, other[:1000] if isinstance(other, np.ndarray) else other)
    assert len(most) == 8, "decoded once"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no archive", "fewer targets"])
def test_damaged_cache_is_built_again(mnist_directory, tmp_path, capsys, monkeypatch, damage):
    root = tmp_path / "data"
    shutil.copytree(mnist_directory, root)
    raw = prepared.read("mnist", str(root))
    monkeypatch.setattr(prepared, "_stored", lambda *_: raw)
    (cache,) = (root / "decoded").glob("mnist-*.npz")
    content = bytearray(cache.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    elif damage == "empty":
        content = bytearray()
    elif damage == "fewer targets":
        with np.load(cache) as stored:
            fewer = io.BytesIO()
            np.savez(fewer, **{**stored, "targets": stored["targets"][:-1]})
        content = bytearray(fewer.getvalue())
    else:
        content = bytearray(b"not an archive")
    cache.write_bytes(content)
    again = prepared.read("mnist", str(root))
    assert "building it again" in capsys.readouterr().out
    np.testing.assert_array_equal(raw.features, again.features)
    assert zipfile.ZipFile(cache).testzip() is None


def test_cache_that_cannot_be_written_is_done_without(mnist_directory, tmp_path, capsys, monkeypatch):
    raw = prepared.read("mnist", str(mnist_directory))
    monkeypatch.setattr(prepared, "_stored", lambda *_: raw)
    root = tmp_path / "data"
    shutil.copytree(mnist_directory / "mnist", root / "mnist")
    (root / "decoded").write_text("a file where the folder should be")
    np.testing.assert_array_equal(prepared.read("mnist", str(root)).features, raw.features)
    assert "going on without" in capsys.readouterr().out


def test_set_prepared_anew_is_not_taken_from_the_old_cache(mnist_directory, tmp_path, monkeypatch):
    root = tmp_path / "data"
    shutil.copytree(mnist_directory, root)
    raw = prepared.read("mnist", str(root))
    (info,) = (root / "mnist").rglob("dataset_info.json")
    info.write_text(info.read_text() + " ")
    other = raw._replace(targets=raw.targets * 0)
    monkeypatch.setattr(prepared, "_stored", lambda *_: other)
    assert not prepared.read("mnist", str(root)).targets.any()
    assert not prepared.read("mnist", str(root)).targets.any(), "and it is cached in turn"


@pytest.mark.parametrize("damage", ["records", "info"])
def test_damaged_set_is_refused_with_the_way_out(mnist_directory, tmp_path, damage):
    root = tmp_path / "data"
    shutil.copytree(mnist_directory / "mnist", root / "mnist")
    for file in (root / "mnist").rglob("*train*" if damage == "records" else "dataset_info.json"):
        file.write_bytes(file.read_bytes()[: 1000 if damage == "records" else 20])
    with pytest.raises(UserError, match=r"remove that folder and run: python scripts/prepare_data.py mnist"):
        prepared.read("mnist", str(root))


def test_variants_are_named(mnist_directory, tmp_path):
    shutil.copytree(mnist_directory / "mnist", tmp_path / "mnist" / "letters")
    with pytest.raises(UserError, match=r"has variants; prepared: mnist/letters$"):
        prepared.read("mnist", str(tmp_path))


def test_set_without_a_class_label_is_refused(mnist_directory, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(mnist_directory / "mnist", root / "mnist")
    (info,) = (root / "mnist").rglob("dataset_info.json")
    content = json.loads(info.read_text())
    content.pop("supervisedKeys")
    info.write_text(json.dumps(content))
    with pytest.raises(UserError, match="is no classification"):
        prepared.read("mnist", str(root))


def test_reading_needs_no_tensorflow(mnist_directory, tmp_path):
    (tmp_path / "mnist").symlink_to(mnist_directory / "mnist")
    read = "import sys; from tricks.data import load; load('mnist', directory=sys.argv[1]); print(*sys.modules)"
    done = run_python("-c", read, tmp_path)
    assert done.status == 0, done
    loaded = done.output.split()
    assert "tensorflow_datasets" in loaded
    assert not {"tensorflow", "keras"} & set(loaded)
    assert (tmp_path / "decoded").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name of one data set"),
        (("digits",), "bundled"),
        (("mnst",), "did you mean mnist"),
        (("mnist", "--manual_dir=/no/such/folder"), "no such folder"),
        (("imdb_reviews",), "fixed shape"),
        (("coco",), "is no classification"),
        (("mnist", "--data_dir=/proc/nowhere"), "cannot be prepared"),
    ],
)
def test_prepare_refuses_in_one_line(arguments, said):
    assert said in run_python("scripts/prepare_data.py", *arguments).mistake()


def test_training_on_a_set_that_is_not_prepared(tmp_path):
    line = train(tmp_path / "run", "--config.data.name=mnist", TFDS_DATA_DIR=str(tmp_path)).mistake()
    assert "python scripts/prepare_data.py mnist" in line
    assert not (tmp_path / "run").exists()
