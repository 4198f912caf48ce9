"""Arrays of a person's own: from a file, a folder or a function, which are features, and what is refused."""

import io
import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from tricks.data import count, draw, load, take
from tricks.errors import UserError

_N = 40
_X = np.random.default_rng(0).normal(size=(_N, 5)).astype(np.float32)
_Y = np.arange(_N) % 3


def _read(*, returned, **options):
    return load("mine", read=lambda: returned, **options)


@pytest.fixture(params=["archive", "folder", "function"])
def loaded(request, tmp_path):
    """`load` of arrays by name, from each of the three."""

    def load_from(arrays, **options):
        if request.param == "function":
            return _read(returned=arrays, **options)
        if request.param == "archive":
            np.savez(tmp_path / "own.npz", **arrays)
            return load(str(tmp_path / "own.npz"), **options)
        folder = tmp_path / "own"
        folder.mkdir()
        (folder / "README.txt").write_text("Not one of them.")
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return load(str(folder), **options)

    return load_from


@pytest.mark.parametrize("names", [("features", "targets"), ("x", "y"), ("X", "y"), ("X_train", "y_train")])
def test_features_and_targets_by_their_names(loaded, names):
    data = loaded(dict(zip(names, (_X, _Y), strict=True)), normalization="none")
    assert (data.classes, data.class_names) == (3, ("0", "1", "2"))
    features = np.concatenate([s.features for s in (data.train, data.validation, data.test)])
    targets = np.concatenate([s.targets for s in (data.train, data.validation, data.test)])
    theirs = {row.tobytes(): target for row, target in zip(_X, _Y, strict=True)}
    assert {row.tobytes(): target for row, target in zip(features, targets, strict=True)} == theirs
    assert features.dtype == np.float32
    assert targets.dtype == np.int32


@pytest.mark.parametrize("target", ["", "y_train"])
def test_the_test_part_of_keras(loaded, target):
    # With a class of its own, and in another order than those of training.
    names = np.array(["b", "d", "c"])
    arrays = {"x_train": _X, "y_train": names[_Y], "x_test": _X[:7] + 1, "y_test": np.array([*"dcbaabd"])}
    data = loaded(arrays, normalization="none", target=target)
    np.testing.assert_array_equal(data.test.features, _X[:7] + 1)
    assert data.class_names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(data.test.targets, [3, 2, 1, 0, 0, 1, 3])
    own = {row.tobytes(): names[target] for row, target in zip(_X, _Y, strict=True)}
    for row, target in zip(data.train.features, data.train.targets, strict=True):
        assert own[row.tobytes()] == data.class_names[target]
    assert count(data.train) + count(data.validation) == _N


def test_all_but_the_named_target_are_features(loaded):
    images = np.random.default_rng(1).integers(0, 256, (_N, 4, 4, 3)).astype(np.uint8)
    words = np.arange(_N * 6).reshape(_N, 6)
    labels = np.array(["cat", "ant"] * 20)
    arrays = {"image": images, "word": words, "age": _X[:, 0], "seen": _X > 0, "animal": labels, "note": _X}
    data = loaded(arrays, target="animal", ignore="note", seed=5)
    assert data.class_names == ("ant", "cat")
    assert {name: (array.shape[1:], array.dtype.name) for name, array in data.train.features.items()} == {
        "image": ((4, 4, 3), "float32"),
        "word": ((6,), "int32"),
        "age": ((), "float32"),
        "seen": ((5,), "float32"),
    }
    assert data.feature_mean["word"] is data.feature_scale["word"] is None
    rows = data.train.features["word"][:, 0] // 6
    np.testing.assert_array_equal(data.train.features["word"], words[rows], err_msg="tokens stay as they are")
    np.testing.assert_array_equal(labels[rows], np.array(data.class_names)[data.train.targets])
    for name, array in (("image", images), ("age", _X[:, 0])):
        restored = data.train.features[name] * data.feature_scale[name] + data.feature_mean[name]
        np.testing.assert_allclose(restored, array[rows], atol=1e-3)
    variance = images[rows].astype(np.float64).var(axis=0)
    np.testing.assert_allclose(data.feature_scale["image"] ** 2, np.maximum(variance, variance.mean()), rtol=1e-5)
    some = take(data.train, np.array([2, 0]))
    np.testing.assert_array_equal(some.features["word"], words[rows[[2, 0]]])
    (drawn,) = draw(data.train, [4], np.random.default_rng(0))
    assert jax.tree.map(len, drawn.features) == {"image": 4, "word": 4, "age": 4, "seen": 4}


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        ((_X, _Y), (5,)),
        ((_X, _Y.tolist()), (5,)),
        ((jnp.asarray(_X), jnp.asarray(_Y)), (5,)),
        ((_X.astype(ml_dtypes.bfloat16), _Y), (5,)),
        ((_X.astype(">f8"), _Y.astype(">i8")), (5,)),
        ((_X[:, 0], _Y), ()),
        (((_X, _Y), (_X[:7], _Y[:7])), (5,)),
        ((_X, np.array(["a", "b"] * 20, object)), (5,)),
    ],
)
def test_what_a_function_may_return(returned, shape):
    data = _read(returned=returned)
    assert data.name == "mine"
    assert data.train.features.shape[1:] == shape
    assert data.train.features.dtype == np.float32


def test_features_of_a_function_may_be_any_pytree():
    data = _read(returned=(({"a": _X, "b": [_X > 0, np.ones((_N, 2), np.int8)]}, _X[:, :1]), _Y))
    assert jax.tree.map(lambda a: (a.shape[1:], a.dtype.name), data.test.features) == (
        {"a": ((5,), "float32"), "b": [((5,), "float32"), ((2,), "int32")]},
        ((1,), "float32"),
    )
    assert data.feature_mean[0]["b"][1] is None


@pytest.mark.parametrize(
    ("targets", "task", "classes", "shape", "dtype"),
    [
        (_Y[:, None], None, 3, (), np.int32),
        (_Y - 7, None, 3, (), np.int32),
        (_Y > 0, None, 2, (), np.int32),
        (_Y.astype(float), None, None, (), np.float32),
        (_Y.astype(float), "classes", 3, (), np.int32),
        (_Y, "numbers", None, (), np.float32),
        (np.arange(_N * 6).reshape(_N, 6) % 11, None, 11, (6,), np.int32),
        ((_X > 0).astype(np.float32), "classes", 2, (5,), np.int32),
        (_X[:, :2].astype(np.float64), None, None, (2,), np.float32),
        (np.random.default_rng(2).normal(size=(_N, 3, 2)), None, None, (3, 2), np.float32),
    ],
)
def test_targets_of_any_shape(targets, task, classes, shape, dtype):
    data = _read(returned=(_X, targets), task=task)
    assert data.classes == classes
    for split in (data.train, data.validation, data.test):
        assert (split.targets.shape[1:], split.targets.dtype) == (shape, dtype)
    if classes is None:
        np.testing.assert_allclose(data.train.targets.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(data.train.targets.std(axis=0), 1, rtol=1e-5)
        assert data.target_mean.shape == data.target_scale.shape == shape


def _with(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


_REFUSED = {
    "half a test": ({"x": _X, "y": _Y, "x_test": _X}, {}, "there is 'x_test' for the test, but no 'y_test'"),
    "half a test of Keras": (
        {"x_train": _X, "y_train": _Y, "x_test": _X},
        {},
        "'x_test' for the test, but no 'y_test'",
    ),
    "half a test of ours": (
        {"features": _X, "targets": _Y, "test_targets": _Y},
        {},
        "'test_targets' for the test, but no 'test_features'",
    ),
    "filled": (
        {"x": _X, "y": _Y},
        {"missing": "mean"},
        r"data\.missing is 'mean', but 'mine' is no table; allowed: ref",
    ),
    "of which data": ({"x": _X[:3], "y": _Y}, {}, "^data.name is 'mine'; y has 40 examples and x has 3"),
    "of which field": ({"x": _X, "y": _Y}, {"target": "z"}, "^data.target is 'z'; allowed: the arrays x, y$"),
    "two features": ({"features": _X, "x": _X, "y": _Y}, {}, "both 'features' and 'x'"),
    "no features": ({"a": _X, "y": _Y}, {}, r"no array 'features' .* among a, y; name the targets with data\.target"),
    "no targets": ({"x": _X}, {}, "no array 'targets'"),
    "another": ({"x": _X, "y": _Y, "x_val": _X}, {}, "an array 'x_val' beside 'x' and 'y'; leave it out"),
    "misspelt": ({"x": _X, "label": _Y}, {"target": "lable"}, r"data\.target is 'lable'; did you mean label\?"),
    "two targets": ({"x": _X, "a": _Y, "b": _Y}, {"target": "a,b"}, "of arrays allowed: one of x, a, b"),
    "lengths": ({"x": _X, "y": _Y[:-1]}, {}, "y has 39 examples and x has 40"),
    "lengths by name": ({"x": _X, "q": _X[:3], "y": _Y}, {"target": "y"}, "y has 40 examples and q has 3"),
    "empty": ({"x": _X[:0], "y": _Y[:0]}, {}, r"x of shape \(0, 5\) is empty"),
    "no width": ({"x": _X[:, :0], "y": _Y}, {}, r"x of shape \(40, 0\) is empty"),
    "a number": ({"x": np.float32(1), "y": _Y}, {}, r"x is of shape \(\)|x is of type float32"),
    "text": ({"x": _X.astype(str), "y": _Y}, {}, "x is of type <U"),
    "complex": ({"x": _X + 1j, "y": _Y}, {}, "x is of type complex"),
    "times": ({"x": _X, "y": np.zeros(_N, "datetime64[s]")}, {}, "y is of type datetime64"),
    "records": ({"x": np.zeros(_N, [("a", float)]), "y": _Y}, {}, "x is of type .*'a'"),
    "nan": ({"x": _with(_X, (7, 2), np.nan), "y": _Y}, {}, r"x\[7, 2\] is nan"),
    "too large": ({"x": _with(_X.astype(float), (39, 4), 1e39), "y": _Y}, {}, r"x\[39, 4\] is 1e\+39"),
    "nan target": ({"x": _X, "y": _with(_X, (3, 0), np.inf)}, {}, r"y\[3, 0\] is inf"),
    "beyond int32": (
        {"x": np.full((_N, 2), 2**31), "y": _Y},
        {},
        r"x\[0, 0\] is 2147483648; allowed: integers",
    ),
    "negative classes": ({"x": _X, "y": _X.round().astype(int) - 9}, {}, r"y of shape \(40, 5\) holds -"),
    "one class": ({"x": _X, "y": _Y * 0}, {}, "y has the one class '0'"),
    "same numbers": ({"x": _X, "y": np.ones(_N)}, {}, "y is the same for all examples"),
    "fractions": ({"x": _X, "y": _X[:, 0]}, {"task": "classes"}, "no class; the loss needs classes"),
    "words": ({"x": _X, "y": np.array(["a", "b"] * 20)}, {"task": "numbers"}, "y is text, such as 'a'"),
    "shapes": ({"x": _X, "y": _Y, "test_x": _X[:, :3], "test_y": _Y}, {}, r"shape \(5,\), for the test of \(3,\)"),
    "types": ({"x": _X, "y": _Y, "test_x": _X.astype(int), "test_y": _Y}, {}, "float32, for the test of int64"),
    "column": (
        {"x": _X, "y": _Y, "part": _Y[:3]},
        {"split_column": "part"},
        r"part is of shape \(3,\); allowed",
    ),
    "no column": (
        {"x": _X, "y": _Y},
        {"group_column": "who"},
        r"data\.group_column is 'who'; allowed: the",
    ),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_refused_in_one_line(case):
    arrays, options, said = _REFUSED[case]
    with pytest.raises(UserError, match=said) as refused:
        _read(returned=arrays, **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "the function of the data returns what is of type NoneType; allowed: a dict of arrays"),
        ([_X, _Y], "of type list"),
        ((_X, _Y, _X), "of type tuple"),
        ({1: _X, 2: _Y}, "of type dict"),
        (({}, _Y), "features is of type dict; allowed: an array"),
        (([[1, 2]] * _N, _Y), "features is of type int|features.* is of type int"),
        (({"a": _X, "b": _with(_X, (0, 1), np.nan)}, _Y), r"features\['b'\]\[0, 1\] is nan"),
        (({"a": _X, "b": _X[:3]}, _Y), "targets has 40 examples and features has 3"),
        ((_X, [[1], [2, 3]]), "targets is of type list, which is no array"),
        ((({"a": _X}, _Y), (_X, _Y)), r"features is PyTreeDef\(\{'a': \*\}\), for the test PyTreeDef\(\*\)"),
    ],
)
def test_what_a_function_may_not_return(returned, said):
    with pytest.raises(UserError, match=rf"^data\.name is 'mine'; .*({said})"):
        _read(returned=returned)


class _Bomb:
    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_refused_and_never_loaded(tmp_path):
    bomb = _Bomb()
    bomb.path = tmp_path / "loaded"
    objects = np.array([bomb] * _N, object)
    folder = tmp_path / "own"
    folder.mkdir()
    np.save(folder / "x.npy", objects, allow_pickle=True)
    np.save(folder / "y.npy", _Y)
    np.savez(tmp_path / "member.npz", x=objects, y=_Y)
    (tmp_path / "whole.npz").write_bytes(pickle.dumps(bomb))
    for path in (folder, tmp_path / "member.npz", tmp_path / "whole.npz"):
        with pytest.raises(UserError, match="a pickle and Python objects are never loaded"):
            load(str(path))
    assert not bomb.path.exists()


@pytest.mark.parametrize("damage", ["pickle", "cut"])
def test_ignored_arrays_are_not_read(tmp_path, damage):
    folder = tmp_path / "own"
    folder.mkdir()
    bomb = _Bomb()
    bomb.path = tmp_path / "loaded"
    arrays = {"x": _X, "y": _Y, "meta, all": np.array([bomb] * _N, object)}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    if damage == "cut":
        cut = folder / "meta, all.npy"
        cut.write_bytes(cut.read_bytes()[:50])
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for path in (folder, tmp_path / "own.npz"):
        assert load(str(path), ignore="meta, all").train.features.shape[1:] == (5,)
        with pytest.raises(UserError, match="cannot be read"):
            load(str(path), ignore="x")
        with pytest.raises(UserError, match=r"data\.ignore is 'meta'; .*allowed: the arrays"):
            load(str(path), ignore="meta")
    assert not bomb.path.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "one array"])
def test_damaged_files_are_refused(tmp_path, damage):
    buffer = io.BytesIO()
    np.savez(buffer, x=_X, y=_Y)
    content = bytearray(buffer.getvalue())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 3] ^= 255
    elif damage == "empty":
        content = bytearray()
    else:
        buffer = io.BytesIO()
        np.save(buffer, _X)
        content = bytearray(buffer.getvalue())
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read|can be read") as refused:
        load(str(tmp_path / "own.npz"))
    assert "\n" not in str(refused.value)


def test_a_cut_array_of_a_folder_is_refused(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    with pytest.raises(UserError, match="holds no arrays"):
        load(str(folder))
    np.save(folder / "y.npy", _Y)
    np.save(folder / "x.npy", _X)
    (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes()[:200])
    with pytest.raises(UserError, match=r"x\.npy' cannot be read"):
        load(str(folder))


def test_a_folder_may_be_named_as_a_prepared_set_could_be(tmp_path, monkeypatch):
    (tmp_path / "own" / "arrays").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="unknown data set 'own/arrays'"):
        load("own/arrays", directory=str(tmp_path))
    np.save("own/arrays/x.npy", _X)
    np.save("own/arrays/y.npy", _Y)
    assert load("own/arrays").classes == 3
    monkeypatch.chdir("own")
    with pytest.raises(UserError, match=r"unknown data set 'arrays'.* give it as 'arrays/'$"):
        load("arrays", directory=str(tmp_path))
    assert load("arrays/").classes == 3


def test_arrays_of_a_folder_are_not_read_whole(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    np.save(folder / "x.npy", _X)
    np.save(folder / "y.npy", _Y)
    modes = []
    original = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: modes.append(k["mmap_mode"]) or original(*a, **k))
    before = (folder / "x.npy").read_bytes()
    load(str(folder))
    assert modes == ["r", "r"]
    assert (folder / "x.npy").read_bytes() == before


def test_targets_that_are_probabilities_stay_as_they_are():
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    split = load("made", read=lambda: (np.eye(50), shares), standardize_targets=False, stratify="no")
    for part in (split.train, split.validation, split.test):
        np.testing.assert_allclose(part.targets.sum(axis=1), 1, rtol=1e-6)
    assert split.target_mean is None
    assert split.target_scale is None
