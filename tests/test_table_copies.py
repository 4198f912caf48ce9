"""Copies of tables in the user's cache: what they hold, when they are made anew, and that no run fails without one."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tricks.data import load, parquet_files, table_copies
from tricks.errors import UserError

_X = np.random.default_rng(5).normal(size=(100, 3)).astype(np.float32)
_DAY = 24 * 3600


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where copies are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tricks" / "tables"


@pytest.fixture
def read(monkeypatch):
    """The groups that are read, one after another."""
    groups = []
    once = parquet_files.Groups.read
    monkeypatch.setattr(parquet_files.Groups, "read", lambda *args: groups.append(args[1]) or once(*args))
    return groups


def _write(path, x=_X, **others):
    table = pyarrow.table({**{f"c{i}": x[:, i] for i in range(x.shape[1])}, **others, "y": np.arange(len(x)) % 2})
    parquet.write_table(table, path, row_group_size=30)
    return path


def _load(path, **options):
    return load(str(path), target="y", storage="disk", shuffle_window=60, **options)


def _copies(folder):
    return sorted(folder.glob("*.npy"))


def test_a_table_is_decoded_once(tmp_path, folder, read, capsys):
    path = _write(tmp_path / "t.parquet")
    first = _load(path)
    assert read == [0, 1, 2, 3]
    told = capsys.readouterr().out
    assert told == f"kept its numbers for later runs, 0.0 MiB in {folder}\n"
    second = _load(path)
    memory = load(str(path), target="y")
    for data in (first, second):
        for part in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(data, part).features[:], getattr(memory, part).features)
    assert read == [0, 1, 2, 3]
    assert capsys.readouterr().out == ""
    (copy,) = _copies(folder)
    np.testing.assert_array_equal(np.load(copy), _X)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((np.uint8, np.uint8), np.uint8),
        ((np.int16, np.int16), np.int16),
        ((np.uint8, np.int16), np.float32),
        ((np.int32, np.int32), np.float32),
        ((np.float64, np.float64), np.float32),
        ((np.float16, np.float16), np.float32),
    ],
)
def test_small_integers_are_kept_as_they_are(kinds, expected, tmp_path, folder):
    columns = {f"c{i}": np.arange(i, 100 + i).astype(kind) for i, kind in enumerate(kinds)}
    parquet.write_table(pyarrow.table({**columns, "y": np.arange(100) % 2}), tmp_path / "t.parquet")
    data = load(str(tmp_path / "t.parquet"), target="y", storage="disk")
    (copy,) = map(np.load, _copies(folder))
    assert copy.dtype == expected
    np.testing.assert_array_equal(copy, np.stack([*columns.values()], axis=1))
    assert data.train.features[:2].dtype == np.float32


def test_a_table_that_has_changed_is_read_anew_and_the_copy_of_the_old_one_goes(tmp_path, folder):
    path = _write(tmp_path / "t.parquet")
    _load(path)
    kept = _copies(_write(tmp_path / "other.parquet") and _load(tmp_path / "other.parquet") and folder)
    times = path.stat()
    _write(path, _X + 1)
    # As large and, by its date, as old as before; it is another file by its inode, or by the date of the change.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    data = _load(path)
    np.testing.assert_allclose(data.feature_mean, load(str(path), target="y").feature_mean, rtol=1e-6)
    after = _copies(folder)
    assert len(kept) == len(after) == 2
    assert len({*kept} & {*after}) == 1


def test_other_columns_are_another_copy(tmp_path, folder):
    path = _write(tmp_path / "t.parquet")
    assert _load(path).columns == ("c0", "c1", "c2")
    assert _load(path, ignore="c1").train.features.shape[1:] == (2,)
    assert sorted(np.load(copy).shape for copy in _copies(folder)) == [(100, 2), (100, 3)]


def _no_room(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * _X.nbytes - 1))


def _breaks_off(monkeypatch):
    def fsync(_):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fsync)


def _nowhere(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")


def _no_home(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)


def _no_locks(monkeypatch):
    def flock(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("tricks.data.cache_files.fcntl.flock", flock)


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (_no_room, "0.0 MiB must be free in FOLDER"),
        (_breaks_off, "Disk quota exceeded"),
        (_nowhere, "No such file or directory: /proc/nowhere"),
        (_no_home, "Could not determine home directory."),
        (_no_locks, "No locks available"),
    ],
)
def test_without_a_copy_a_table_is_decoded_as_it_is_needed(obstacle, reason, tmp_path, folder, monkeypatch, capsys):
    path = _write(tmp_path / "t.parquet")
    obstacle(monkeypatch)
    data = _load(path)
    reason = reason.replace("FOLDER", str(folder))
    told = capsys.readouterr().out
    assert told == f"its numbers, 0.0 MiB, cannot be kept and are decoded each epoch: {reason}\n"
    np.testing.assert_array_equal(data.train.features[:], load(str(path), target="y").train.features)
    assert not folder.exists() or not [*folder.iterdir()]
    # What is wrong with a column is found all the same.
    bad = _write(tmp_path / "bad.parquet", z=[1.0] * 99 + [float("inf")])
    with pytest.raises(UserError, match=r"column 'z' is inf in row 100"):
        _load(bad)


def test_twice_the_copy_must_be_free(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * _X.nbytes))
    _load(_write(tmp_path / "t.parquet"))
    assert len(_copies(folder)) == 1


def test_columns_that_are_refused_leave_no_copy(tmp_path, folder):
    for values, message in (([2.0] * 100, "has the one value 2"), ([1.0, None] * 50, "has no value in row 2")):
        path = _write(tmp_path / "bad.parquet", z=values)
        for _ in range(2):
            with pytest.raises(UserError, match=message):
                _load(path)
        assert not [*folder.iterdir()]


@pytest.mark.parametrize("damage", ["cut", "empty", "something else", "of another shape"])
def test_a_damaged_copy_is_made_anew(damage, tmp_path, folder, read):
    path = _write(tmp_path / "t.parquet")
    _load(path)
    (copy,) = _copies(folder)
    content = copy.read_bytes()
    if damage == "of another shape":
        np.save(copy, _X[:-1])
    else:
        copy.write_bytes({"cut": content[:-1], "empty": b"", "something else": b"text" * 100}[damage])
    del read[:]
    np.testing.assert_array_equal(_load(path).train.features[:], load(str(path), target="y").train.features)
    assert read == [0, 1, 2, 3]
    assert copy.read_bytes() == content


def test_a_copy_that_is_cut_or_removed_while_it_is_read(tmp_path, folder):
    features = _load(_write(tmp_path / "t.parquet")).train.features
    first = features[:]
    (copy,) = _copies(folder)
    aside = tmp_path / "aside.npy"
    shutil.copy(copy, aside)
    copy.unlink()
    np.testing.assert_array_equal(features[:], first)
    shutil.copy(aside, copy)
    features = _load(tmp_path / "t.parquet").train.features
    os.truncate(copy, 500)
    with pytest.raises(UserError, match=r"\.npy has become shorter .*: 500 bytes, of which 1,328 are needed; the same"):
        features[:]


@pytest.mark.parametrize("change", ["written to", "replaced", "removed"])
@pytest.mark.parametrize("when", ["opened", "read", "kept"])
def test_a_table_that_changes_while_it_is_read_is_refused(change, when, tmp_path, folder, monkeypatch):
    path, other = _write(tmp_path / "t.parquet"), _write(tmp_path / "other.parquet", _X + 1)

    def after(module, name, function):
        def changed(*args, **options):
            result = function(*args, **options)
            if change == "written to":
                path.write_bytes(other.read_bytes())
            elif change == "replaced" and other.exists():
                other.replace(path)
            elif change == "removed":
                path.unlink(missing_ok=True)
            return result

        monkeypatch.setattr(module, name, changed)

    if when == "kept":
        _load(path)
        after(table_copies, "_mapped", table_copies._mapped)
    elif when == "opened":
        after(parquet, "ParquetFile", parquet.ParquetFile)
    else:
        after(os, "fsync", os.fsync)
        after(parquet_files.Groups, "read", parquet_files.Groups.read)
    with pytest.raises(
        UserError, match=r"t\.parquet', which (was changed while it was read; run it|cannot be read: No)"
    ):
        _load(path)
    assert len(_copies(folder)) == (when == "kept")


def test_a_copy_that_cannot_be_touched_is_used(tmp_path, folder, read, monkeypatch):
    path = _write(tmp_path / "t.parquet")
    _load(path)

    def utime(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", utime)
    del read[:]
    _load(path)
    assert not read


def test_what_nobody_uses_goes(tmp_path, folder):
    path = _write(tmp_path / "t.parquet")
    _load(path)
    (copy,) = _copies(folder)
    now = time.time()
    ages = {"a-b-c.npy": 61, "b-b-c.npy": 59, "c-b-c.npy.7.part": 61, "d-b-c.npy.lock": 61, "e-b-c.npy.7.part": 1}
    for name, days in ages.items():
        (folder / name).touch()
        os.utime(folder / name, (now - days * _DAY,) * 2)
    os.utime(copy, (now - 59 * _DAY,) * 2)
    _load(path)  # It is used, which renews it, and nothing is made that needs room.
    assert copy.stat().st_mtime > now - 60
    assert all((folder / name).exists() for name in ages)
    _load(_write(tmp_path / "next.parquet"))
    assert {name for name in ages if (folder / name).exists()} == {"b-b-c.npy", "e-b-c.npy.7.part"}
    assert copy.exists()


def test_of_several_at_once_one_decodes_and_the_others_wait(tmp_path, folder, read):
    path = _write(tmp_path / "t.parquet")
    with ThreadPoolExecutor(4) as threads:
        sets = [*threads.map(lambda _: _load(path), range(4))]
    assert read == [0, 1, 2, 3]
    assert len(_copies(folder)) == 1
    for data in sets:
        np.testing.assert_array_equal(data.train.features[:], sets[0].train.features[:])


def test_a_part_that_a_killed_process_has_left_makes_room(tmp_path, folder, monkeypatch):
    path = _write(tmp_path / "t.parquet")
    _load(path)
    (copy,) = _copies(folder)
    part = copy.with_name(f"{copy.name}.7.part")
    copy.rename(part)
    room = SimpleNamespace(free=2 * _X.nbytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0) if part.exists() else room)
    _load(path)
    assert [*folder.iterdir()] == [copy]


def test_a_copy_is_asked_for_by_the_file_itself(tmp_path, folder, monkeypatch):
    path = _write(tmp_path / "t.parquet")
    (tmp_path / "link.parquet").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for name in (path, "t.parquet", "link.parquet"):
        _load(name)
    assert len(_copies(folder)) == 1


def test_check_gives_the_mapped_values(tmp_path):
    file = parquet_files.Groups(Path(_write(tmp_path / "t.parquet")))
    for _ in range(2):
        values = table_copies.check(file, ["c2", "c0"])
        assert isinstance(values, np.memmap)
        np.testing.assert_array_equal(values, _X[:, [2, 0]])
