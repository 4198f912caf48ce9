"""Sets that stay on disk: the order of an epoch, what is read, how much memory that takes, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from conftest import ENVIRONMENT, ROOT, interrupt, read_metrics, train
from tricks.data import draw, load, windows
from tricks.data.records import Records
from tricks.data.row_groups import RowGroups
from tricks.data.stored import is_stored, windows_of
from tricks.data.windows import Order, Windows
from tricks.errors import UserError
from tricks.training import evaluation, feed
from tricks.training.read_blocks import ReadBlocks

_N = 6000
_GENERATOR = np.random.default_rng(7)
_X = (_GENERATOR.normal(size=(_N, 12)) * 3 + 5).astype(np.float32)
_Y = ((_X - 5) @ _GENERATOR.normal(size=(12, 4))).argmax(axis=1)
_FORMATS = ("folder", "archive", "parquet", "decoded")
_NOWHERE = "/proc/nowhere"  # There nobody can make a folder, not even root.


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of one's own for copies of tables, here and in commands."""
    for environment in (os.environ, ENVIRONMENT):
        monkeypatch.setitem(environment, "XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tricks" / "tables"


@pytest.fixture
def no_copies(monkeypatch):
    """No folder for them, so that a table is decoded in each epoch."""
    for environment in (os.environ, ENVIRONMENT):
        monkeypatch.setitem(environment, "XDG_CACHE_HOME", _NOWHERE)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The same examples as a folder of .npy files, as an archive and as a table."""
    base = tmp_path_factory.mktemp("stored")
    folder = base / "folder"
    folder.mkdir()
    np.save(folder / "features.npy", _X)
    np.save(folder / "targets.npy", _Y)
    np.savez(base / "archive.npz", features=_X, targets=_Y)
    table = pyarrow.table({**{f"c{i}": _X[:, i] for i in range(_X.shape[1])}, "y": _Y})
    parquet.write_table(table, base / "table.parquet", row_group_size=250)
    return {
        "folder": {"name": f"{folder}/"},
        "archive": {"name": str(base / "archive.npz")},
        "parquet": {"name": str(base / "table.parquet"), "target": "y"},
    }


@pytest.fixture
def files(written, request, monkeypatch):
    """The same, and the table without a copy where a test asks for the form `decoded`."""
    if "decoded" in getattr(getattr(request.node, "callspec", None), "params", {}).values():
        request.getfixturevalue("no_copies")
    return {**written, "decoded": written["parquet"]}


def _flags(options, **others):
    return [f"--config.data.{field}={value}" for field, value in {**options, **others}.items()]


# --- The order of an epoch.


def test_the_order_by_hand():
    """Blocks 0-1, 2-3 and 4 of windows of two blocks and one: by the two generators that are named in streams.py."""
    cuts = Windows(np.array([0, 2, 4, 5]), 2)
    blocks = np.random.default_rng((3, 8)).permutation(3)
    rows = [[0, 1], [2, 3], [4]]
    # One block is in the first window, and two are in the second.
    expected = []
    for window, members in enumerate([blocks[:1], blocks[1:]]):
        places = np.concatenate([rows[block] for block in members])
        np.random.default_rng(np.random.SeedSequence(3, spawn_key=(23, 8, window))).shuffle(places)
        expected += places.tolist()
    assert Order(cuts, 3, 8).rows(0, 5).tolist() == expected


@pytest.mark.parametrize(
    "cuts", [windows.cut(1000, 100, 8), windows.cut(1003, 997, 1), Windows(np.r_[0, 7, 50, 51], 2)]
)
def test_an_epoch_has_every_example_once_in_an_order_of_seed_and_epoch(cuts):
    n = cuts.examples
    one = Order(cuts, 0, 0).rows(0, n)
    assert sorted(one.tolist()) == list(range(n))
    np.testing.assert_array_equal(Order(cuts, 0, 0).rows(0, n), one)
    for other in (Order(cuts, 1, 0), Order(cuts, 0, 1)):
        assert (other.rows(0, n) != one).any()


def test_an_epoch_begins_anywhere():
    cuts = windows.cut(5000, 512, 1)
    whole = Order(cuts, 5, 2).rows(0, 5000)
    for start, stop in [(0, 1), (511, 513), (512, 512 * 4), (1234, 4999), (4999, 5000)]:
        np.testing.assert_array_equal(Order(cuts, 5, 2).rows(start, stop), whole[start:stop])


def test_a_window_of_all_examples_is_the_order_of_memory():
    plan = feed.Plan(10, (5, 5))
    order = Order(windows.cut(103, 103, 10**6), 4, 9).rows(0, 100)
    np.testing.assert_array_equal(order.reshape(10, 10), feed.rows_of_epoch(103, plan, 4, 9))


def test_blocks_and_windows_by_hand():
    # 64 KiB hold 81 examples of 800 bytes, and of 2^14 a 1024th part is 16.
    assert np.diff(windows.cut(10**5, 2**14, 800).edges)[:2].tolist() == [16, 16]
    assert np.diff(windows.cut(10**6, 2**18, 800).edges)[:2].tolist() == [81, 81]
    # Examples larger than a block are shuffled one by one.
    cuts = windows.cut(10**5, 2**14, 10**6)
    assert np.diff(cuts.edges).max() == 1
    assert cuts.number == 7  # 100,000 / 16,384.
    assert cuts.blocks == 100_000 // 7


def _batches(cuts, batch, epochs, seed=0):
    count = cuts.examples // batch * batch
    return np.concatenate([Order(cuts, seed, epoch).rows(0, count).reshape(-1, batch) for epoch in range(epochs)])


@pytest.mark.parametrize("batch", [8, 64])
def test_the_variance_of_a_batch_keeps_to_its_bound_and_reaches_it(batch):
    """A file sorted by a number: all that neighbours can be alike, so that the bound is nearly attained."""
    cuts = Windows(np.arange(0, 2**15 + 1, 64), 16)  # 512 blocks, of which 32 are in a window.
    assert cuts.excess(batch) == 1 + batch / 32
    values = np.arange(cuts.examples) / cuts.examples
    means = values[_batches(cuts, batch, epochs=40)].mean(axis=1)
    n = cuts.examples
    full = values.var() / batch * (n - batch) / (n - 1)
    ratio = np.square(means - values.mean()).mean() / full
    # 640 windows: of their part, b / K, the standard error is sqrt(2 / 640) = 0.056 of it; of the rest less.
    margin = 4 * (0.056 * batch / 32 + np.sqrt(2 / len(means)))
    assert ratio < cuts.excess(batch) + margin
    # Exactly 1 + (b - 1) / K (M - K) / (M - 1), but for terms of 1 / n.
    assert ratio == pytest.approx(1 + (batch - 1) / 32 * 480 / 511, abs=margin)


def test_neighbours_are_drawn_apart():
    """Two examples of a block share a window, and so a batch by chance (b - 1) / (W - 1); and places are far off."""
    cuts = Windows(np.arange(0, 2**15 + 1, 64), 16)
    n, window, batch = cuts.examples, 2**11, 32
    together, far = [], []
    for epoch in range(20):
        place = np.empty(n, int)
        place[Order(cuts, 1, epoch).rows(0, n)] = np.arange(n)
        within = (np.arange(n - 1) + 1) % 64 != 0
        together.append((np.diff(place // batch) == 0)[within].mean())
        far.append(np.abs(place - np.arange(n)).mean() / (n / 3))
    expected = (batch - 1) / (window - 1)
    pairs = 20 * n * 63 / 64
    # Pairs that overlap go together, which widens the error by less than twice.
    assert np.mean(together) == pytest.approx(expected, abs=8 * np.sqrt(expected / pairs))
    assert np.mean(far) == pytest.approx(1, abs=0.03)


def test_what_is_fetched_ahead_is_the_next_window_and_the_next_epoch():
    cuts = Windows(np.arange(0, 241, 10), 4)  # 24 blocks, 6 in a window.
    for epoch in range(2):
        order, following = Order(cuts, 2, epoch), Order(cuts, 2, epoch + 1)
        fetched = np.concatenate([order.ahead(start, start + 20) for start in range(0, 240, 20)])
        own, others = fetched[:18], fetched[18:]
        assert {*own // 10} == {*order.rows(60, 240) // 10}
        assert {*others // 10} == {*following.rows(0, 60) // 10}


# --- What is read.


@pytest.mark.parametrize("form", _FORMATS)
def test_examples_and_statistics_are_those_of_memory(files, form):
    memory, disk = load(**files[form], seed=3), load(**files[form], seed=3, storage="disk")
    assert memory.columns == disk.columns
    assert memory.class_names == disk.class_names
    np.testing.assert_allclose(disk.feature_mean, memory.feature_mean, rtol=1e-7)
    np.testing.assert_allclose(disk.feature_scale, memory.feature_scale, rtol=1e-7)
    for part in ("train", "validation", "test"):
        one, other = getattr(memory, part), getattr(disk, part)
        assert is_stored(other.features)
        assert (other.features.shape, other.features.dtype) == (one.features.shape, one.features.dtype)
        np.testing.assert_array_equal(other.features[:], one.features)
        np.testing.assert_array_equal(other.targets, one.targets)
        rows = np.array([[5, 5, 0], [17, 3, 99]])
        np.testing.assert_array_equal(other.features[rows], one.features[rows])
        np.testing.assert_array_equal(other.features[3], one.features[3])
    (one,), (other,) = (draw(data.train, [50], np.random.default_rng(0)) for data in (memory, disk))
    np.testing.assert_array_equal(one.features, other.features)


def test_statistics_by_hand(tmp_path):
    np.save(tmp_path / "features.npy", np.array([[0.0, 1], [2, 1], [4, 1], [6, 1]] * 5))
    np.save(tmp_path / "targets.npy", np.arange(20) % 2)
    np.save(tmp_path / "part.npy", np.array((["train"] * 2 + ["val", "test"]) * 5))
    data = load(f"{tmp_path}/", split_column="part", storage="disk")
    assert data.feature_mean.tolist() == [1, 1]
    assert data.feature_scale.tolist() == [1, 1]
    assert data.validation.features[0].tolist() == [3, 0]


def test_pixels_tokens_and_several_arrays(tmp_path):
    rng = np.random.default_rng(1)
    np.save(tmp_path / "image.npy", rng.integers(0, 256, (90, 4, 4, 3)).astype(np.uint8))
    np.save(tmp_path / "words.npy", rng.integers(0, 50, (90, 6)))
    np.save(tmp_path / "label.npy", np.arange(90) % 3)
    memory, disk = (load(f"{tmp_path}/", target="label", storage=storage) for storage in ("memory", "disk"))
    for one, other in zip(jax.tree.leaves(memory.train.features), jax.tree.leaves(disk.train.features), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(other[:], one)


def test_a_function_may_give_mapped_arrays(files, tmp_path):
    mapped = np.load(f"{files['folder']['name']}/features.npy", mmap_mode="r")
    disk = load("mine", read=lambda: (mapped, _Y), storage="disk")
    np.testing.assert_array_equal(disk.train.features[:], load("mine", read=lambda: (_X, _Y)).train.features)


def test_prepared_sets_are_mapped_or_read_from_their_records(mnist_directory, tmp_path):
    memory = load("mnist", directory=str(mnist_directory))
    (tmp_path / "mnist").symlink_to(mnist_directory / "mnist")
    (tmp_path / "decoded").write_text("a file where the folder should be")
    rows = np.r_[0:20, 53_000:53_020]
    for directory, source in ((mnist_directory, np.memmap), (tmp_path, Records)):
        disk = load("mnist", directory=str(directory), storage="disk")
        assert isinstance(disk.train.features._source, source)
        np.testing.assert_array_equal(disk.train.targets, memory.train.targets)
        np.testing.assert_array_equal(disk.train.features[rows], memory.train.features[rows])
        np.testing.assert_array_equal(disk.test.features[:20], memory.test.features[:20])


def test_a_group_of_rows_is_read_once_where_it_is_expected(files, no_copies, monkeypatch):
    read = []
    once = RowGroups._read
    monkeypatch.setattr(RowGroups, "_read", lambda self, group: read.append(group) or once(self, group))
    disk = load(**files["parquet"], storage="disk", shuffle_window=1000)
    cuts = windows_of(disk.train.features)
    assert cuts.blocks >= 4
    plan = feed.plan_epoch(len(disk.train.targets), 20, 3)
    read.clear()
    last = plan.steps_per_epoch
    for _ in feed.chunks(
        disk.train, plan, first_step=0, last_step=last, seed=0, mesh=feed.make_mesh(), on_device=False
    ):
        pass
    # All of this epoch but what the pass of the statistics has left, and the first window of the next.
    assert {*read} >= {*range(24 - 2)}
    assert len(read) <= 24 + -(-24 // cuts.number)


@pytest.mark.parametrize("form", _FORMATS)
def test_measures_of_blocks_that_are_read_are_those_of_memory(files, form, monkeypatch):
    monkeypatch.setattr("tricks.training.read_blocks._BYTES_AT_ONCE", 2**16)
    mesh = feed.make_mesh()
    memory, disk = load(**files[form]), load(**files[form], storage="disk")
    read = ReadBlocks(disk.test, mesh)

    def sums(_, block):
        return {"loss": jnp.sum(block.batches.features[..., 0] * block.counts, axis=1)}

    n = len(memory.test.targets)
    blocks = evaluation.blocks(memory.test, mesh)
    assert (len([*read]), len(blocks)) == (2, 1)  # Of 1,200 examples in batches of 1,024.
    assert [block.counts.shape for block in read] == [shape.counts.shape for shape in read.shapes]
    # A second time too.
    for _ in range(2):
        assert evaluation.means(sums, None, read, mesh, n) == evaluation.means(sums, None, blocks, mesh, n)


def test_chunks_begin_at_any_of_an_epoch(files):
    disk = load(**files["folder"], storage="disk", shuffle_window=500)
    plan = feed.plan_epoch(len(disk.train.targets), 32, 10)

    def steps(first):
        given = feed.chunks(
            disk.train, plan, first_step=first, last_step=2 * plan.steps_per_epoch, seed=1, mesh=feed.make_mesh(),
            on_device=False,
        )  # fmt: skip
        return np.concatenate([np.asarray(chunk.examples.features) for chunk in given])

    first = plan.steps_per_epoch + sum(plan.chunk_lengths[:4])
    np.testing.assert_array_equal(steps(first), steps(0)[first:])


# --- Runs.

_SHORT = ("--config.train.epochs=2", "--config.train.chunk_steps=20", "--config.model.hidden_sizes=8")


def _lines(workdir):
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_metrics(workdir)]


@pytest.mark.parametrize("form", ["folder", "parquet", "decoded"])
def test_a_run_is_that_of_memory_bit_for_bit_where_the_order_is(files, form, tmp_path):
    for storage in ("memory", "disk"):
        done = train(tmp_path / storage, *_SHORT, *_flags(files[form], storage=storage))
        assert done.status == 0, done
    assert _lines(tmp_path / "disk") == _lines(tmp_path / "memory")


def test_devices_share_what_is_read(files, tmp_path):
    flags = [*_SHORT, *_flags(files["parquet"], storage="disk", shuffle_window=1000)]
    for devices in (1, 4):
        done = train(tmp_path / str(devices), *flags, devices=devices)
        assert done.status == 0, done
        assert "windows" in done.output
    one, four = (_lines(tmp_path / str(devices)) for devices in (1, 4))
    for a, b in zip(one, four, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


@pytest.mark.parametrize("form", ["folder", "parquet", "decoded"])
def test_an_interrupted_run_goes_on_bit_for_bit_in_the_middle_of_an_epoch(files, form, tmp_path):
    flags = [
        *_flags(files[form], storage="disk", shuffle_window=1000),
        *("--config.train.epochs=30", "--config.train.chunk_steps=5", "--config.model.dropout=0.3"),
    ]
    done = train(tmp_path / "whole", *flags)
    assert done.status == 0, done
    status, output = interrupt(tmp_path / "parts", signal.SIGTERM, 150, flags)
    assert status == 130, output
    stopped = read_metrics(tmp_path / "parts")[-1]["step"]
    steps = 4320 // 32
    assert stopped % steps, "it was to stop in the middle of an epoch"
    assert train(tmp_path / "parts", *flags).status == 0
    assert _lines(tmp_path / "parts") == _lines(tmp_path / "whole")


# --- Memory.

_LIMIT = 64  # MiB, of a set of four times as much.
_EPOCH = """
import sys, threading, time
import jax, jax.numpy as jnp, numpy as np
from tricks.data import load
from tricks.losses import Batch
from tricks.training import feed
from tricks.training.read_blocks import ReadBlocks

def used():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

mesh, peaks, phase, before = feed.make_mesh(), {}, ["load"], [0]
step = jax.jit(lambda x: sum(jnp.sum(a.astype(jnp.float32)) for a in jax.tree.leaves(x)))

def watch():
    while True:
        peaks[phase[0]] = max(peaks.get(phase[0], 0), used() - before[0])
        time.sleep(0.002)

def go_through(name, storage, **options):
    data = load(name, storage=storage, **options)
    plan = feed.plan_epoch(len(data.train.targets), 256, 8)
    last = 2 * plan.steps_per_epoch
    chunks = feed.chunks(data.train, plan, first_step=0, last_step=last, seed=0, mesh=mesh, on_device=False)
    for i, chunk in enumerate(chunks):
        phase[0] = f"epoch {i // len(plan.chunk_lengths)}"
        step(chunk.examples).block_until_ready()
    phase[0] = "validation"
    if storage == "disk":
        for block in ReadBlocks(data.validation, mesh):
            step(block.batches).block_until_ready()

small, large, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
# What libraries take when they are first used is no part of it.
go_through(small, **options)
before[0], phase[0] = used(), "load"
threading.Thread(target=watch, daemon=True).start()
go_through(large, **options)
print({name: round(value, 1) for name, value in peaks.items()})
"""


def _peaks(small, large, **options):
    """MiB beyond what the process had after a small set, at most, in each phase."""
    done = subprocess.run(
        [sys.executable, "-c", _EPOCH, small, large, repr(options)],
        cwd=ROOT,
        env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def _write(folder, rows):
    """Numbers as a mapped array and as a table, half a KiB an example."""
    folder.mkdir()
    width, group = 2**7, 2**12
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (rows, width))
    schema = pyarrow.schema([*((f"c{i}", pyarrow.float32()) for i in range(width)), ("y", pyarrow.int32())])
    with parquet.ParquetWriter(folder / "t.parquet", schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, group):
            block = features[start : start + group]
            block[...] = np.random.default_rng(start).random(block.shape, np.float32)
            columns = [*np.ascontiguousarray(block.T), (np.arange(start, start + group) % 7).astype(np.int32)]
            writer.write_table(pyarrow.table(columns, schema=schema), row_group_size=group)
    features.flush()
    np.save(folder / "targets.npy", np.arange(rows) % 7)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Folders with 8 MiB and with four times the limit."""
    base = tmp_path_factory.mktemp("sizes")
    _write(base / "small", 2**14)
    _write(base / "large", 4 * _LIMIT * 2**11)
    return base / "small", base / "large"


@pytest.mark.parametrize("form", ["folder", "parquet", "decoded"])
def test_memory_is_flat_over_epochs_of_a_set_four_times_the_limit(sizes, form, request):
    if form == "decoded":
        request.getfixturevalue("no_copies")
    file, options = ("", {}) if form == "folder" else ("t.parquet", {"target": "y"})
    peaks = _peaks(*(f"{folder}/{file}" for folder in sizes), storage="disk", shuffle_window=2**13, **options)
    assert max(peaks.values()) < _LIMIT, peaks
    assert peaks["epoch 1"] < peaks["epoch 0"] + 8, peaks


def test_memory_in_the_same_measure_is_the_whole_set_where_it_is_loaded(sizes):
    peaks = _peaks(*(f"{folder}/" for folder in sizes), storage="memory")
    assert max(peaks.values()) > 0.7 * 4 * _LIMIT, peaks


# --- What is refused.


def test_what_cannot_stay_on_disk_is_refused_in_a_line(files, tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", features=_X, targets=_Y)
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4\n")
    for name, message in {
        "digits": r"data\.storage is 'disk', but 'digits' is bundled",
        str(tmp_path / "packed.npz"): r"packed\.npz' is compressed .* save it with np\.savez, .*data\.storage=memory",
        str(tmp_path / "t.csv"): r"data\.storage is 'disk', but .*t\.csv' can only be read as a whole; allowed: memory",
    }.items():
        with pytest.raises(UserError, match=message):
            load(name, storage="disk", target="y" if name.endswith("csv") else "")
    with pytest.raises(UserError, match=r"data\.missing is 'mean', but data\.storage is 'disk'; allowed: refuse"):
        load(**files["parquet"], storage="disk", missing="mean")
    with pytest.raises(UserError, match=r"data\.shuffle_window is 300; a row group .* up to 19\d .*: choose 3\d\d or"):
        load(**files["parquet"], storage="disk", shuffle_window=300)
    with pytest.raises(UserError, match=r"shuffle_window is 9; .* up to 10 training examples, .*: choose 10 or more"):
        windows.of_groups(np.arange(10), np.array([10]), 9)
    with pytest.raises(UserError, match=r"data\.storage is 'tape'; allowed: memory, disk"):
        load(**files["folder"], storage="tape")


def test_an_archive_with_something_else_in_it(tmp_path):
    np.savez(tmp_path / "a.npz", features=_X[:100], targets=_Y[:100])
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README.txt", "What this is.")
    with pytest.raises(UserError, match=r"a\.npz', .*'README.txt' in it is no array; .*data\.ignore=README.txt"):
        load(str(tmp_path / "a.npz"), storage="disk")
    assert load(str(tmp_path / "a.npz"), storage="disk", ignore="README.txt").train.features.shape[1:] == (12,)


def test_a_mapped_file_that_is_cut_is_named(tmp_path):
    np.save(tmp_path / "features.npy", _X)
    np.save(tmp_path / "targets.npy", _Y)
    features = load(f"{tmp_path}/", storage="disk").train.features
    first = features[:3]
    (tmp_path / "aside.npy").write_bytes((tmp_path / "features.npy").read_bytes())
    os.truncate(tmp_path / "features.npy", _X.nbytes // 2)
    with pytest.raises(UserError, match=r"features\.npy has become shorter while it was read: 144,000 bytes, of which"):
        features[:3]
    # What is removed, or replaced, stays mapped.
    os.truncate(tmp_path / "features.npy", _X.nbytes + 128)
    (tmp_path / "features.npy").unlink()
    assert features[:3].shape == first.shape


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", "b"] * 50, r"column 'x' is of type string; with data\.storage=disk allowed: numbers; .*data\.ignore"),
        ([True, False] * 50, r"column 'x' is of type bool; with"),
        ([1.0] * 60 + [None] + [2.0] * 39, r"column 'x' has no value in row 61; .*missing are null and NaN"),
        ([1.0] * 60 + [float("nan")] + [2.0] * 39, r"column 'x' has no value in row 61"),
        ([1.0] * 70 + [float("inf")] + [2.0] * 29, r"column 'x' is inf in row 71; allowed: finite numbers of float32"),
        ([1.0] * 70 + [-1e39] + [2.0] * 29, r"column 'x' is -1e\+39 in row 71"),
        ([4.0] * 100, r"column 'x' has the one value 4; leave it out: data\.ignore"),
    ],
)
def test_columns_that_cannot_be_features_are_refused(column, message, tmp_path):
    table = pyarrow.table({"x": column, "z": np.arange(100.0), "y": np.arange(100) % 2})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=30)
    with pytest.raises(UserError, match=message):
        load(str(tmp_path / "t.parquet"), target="y", storage="disk", shuffle_window=60)
    disk = load(str(tmp_path / "t.parquet"), target="y", ignore="x", storage="disk", shuffle_window=60)
    assert disk.columns == ("z",)


def test_numbers_of_any_kind_are_those_of_memory(tmp_path):
    rng = np.random.default_rng(3)
    columns = {
        "small": rng.integers(-9, 9, 100).astype(np.int8),
        "large": rng.integers(0, 2**60, 100),
        "half": rng.normal(size=100).astype(np.float16),
        "decimal": pyarrow.array([f"{i}.5" for i in range(100)]).cast(pyarrow.decimal128(9, 2)),
        "y": rng.normal(size=100),
    }
    table = pyarrow.table(columns)
    # A group may be empty.
    with parquet.ParquetWriter(tmp_path / "t.parquet", table.schema) as writer:
        for start, length in ((0, 30), (30, 0), (30, 50), (80, 20)):
            writer.write_table(table.slice(start, length))
    memory, disk = (
        load(str(tmp_path / "t.parquet"), target="y", task="numbers", storage=storage) for storage in ("memory", "disk")
    )
    np.testing.assert_array_equal(disk.train.features[:], memory.train.features)
    np.testing.assert_array_equal(disk.train.targets, memory.train.targets)


def test_a_damaged_group_is_refused_where_it_is_read(files, tmp_path):
    damaged = tmp_path / "damaged.parquet"
    content = bytearray(Path(files["parquet"]["name"]).read_bytes())
    content[2000:60000] = bytes(58000)
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.name is .*damaged\.parquet', which cannot be read as Parquet"):
        load(str(damaged), target="y", storage="disk")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["storage=disk", "placement=device"], "data.placement is 'device', but data.storage is 'disk'; allowed: auto"),
        (["shuffle_window=99"], "data.shuffle_window is 99, but data.storage is 'memory', where all examples are"),
        (["storage=disk"], "data.storage is 'disk', but 'digits' is bundled"),
    ],
)
def test_a_command_refuses_in_one_line(flags, message, tmp_path):
    done = train(tmp_path / "run", *(f"--config.data.{flag}" for flag in flags))
    assert message in done.mistake()
    assert not (tmp_path / "run").exists()
