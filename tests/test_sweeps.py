"""Lanes of a sweep are the runs that train.py makes, whatever else is trained beside them."""

import contextlib
import functools
import json
import math
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet
import pytest

from conftest import QUICKLY_COMPILED, run_python, train
from tricks import training
from tricks.config import Config
from tricks.errors import UserError
from tricks.training import experiment, records, sources
from tricks.training.sweeps import export, lane_files, memory, programs, run, settings

# Most sweeps here are of the same few shapes.
pytestmark = pytest.mark.usefixtures("compiled_once")

_RATE, _DROPOUT = "optimizer.learning_rate", "model.dropout"


def _config(**fields) -> Config:
    config = Config()
    config.data.batch_size = 68  # 19 steps in chunks of 7, 6 and 6.
    config.model.hidden_sizes = (12,)
    config.train.epochs = 2
    config.train.chunk_steps = 7
    return settings.with_setting(config, {name.replace("__", "."): value for name, value in fields.items()})


# Numbers of every part of a config, off in some lanes; lanes of different lengths; two splits, two label noises.
_SETTINGS = [
    {_RATE: 1e-2, _DROPOUT: 0.0, "optimizer.l2": 0.0, "schedule.warmup_steps": 0, "train.epochs": 2},
    {_RATE: 1e-3, _DROPOUT: 0.4, "optimizer.l2": 1e-3, "schedule.warmup_steps": 9, "train.epochs": 2},
    {_RATE: 3e-2, _DROPOUT: 0.2, "optimizer.l2": 0.0, "schedule.warmup_steps": 5, "train.epochs": 1},
]
_MORE = ("model.noise", "data.label_noise", "data.augment.shift", "optimizer.momentum", "early_stopping.min_delta")
for _one, _values in zip(
    _SETTINGS, ((0.0, 0.0, 0.0, 0.9, 0.0), (0.1, 0.3, 1.0, 0.8, 0.1), (0.2, 0.3, 0.0, 0.5, 0.0)), strict=True
):
    _one |= dict(zip(_MORE, _values, strict=True))


def _run(workdir: Path, settings_of_run=_SETTINGS, seeds=2, halving=0, **fields) -> run.Results:
    return run.sweep(_config(**fields), settings_of_run, workdir=workdir, seeds=seeds, halving=halving)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("sweeps") / "whole"
    assert not _run(workdir, schedule__shape="cosine").interrupted
    return workdir


def _rows(workdir: Path) -> list[dict]:
    found = pyarrow.parquet.read_table(workdir / "results.parquet").to_pylist()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def _same(one: Path, other: Path) -> None:
    assert _rows(one) == _rows(other)
    tables = [pyarrow.parquet.read_table(workdir / "curves.parquet") for workdir in (one, other)]
    assert tables[0].equals(tables[1])


@contextlib.contextmanager
def _compilations():
    found = []

    def hear(event, seconds, **_):
        if "backend_compile" in event:
            found.append(threading.get_ident())

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield found
    jax.monitoring.unregister_event_duration_listener(hear)


def _close(name, value):
    """What another program may make of it in float32, on any CPU.

    Most of it agrees to 1e-6. But a unit that is at the edge of its activation, and an example that is between two
    classes, may fall to either side; in float64 programs agree to 1e-10 (test_assembly.py).
    """
    rel, absolute = {"loss": (2e-4, 0), "accuracy": (0, 0.01), "gradient_norm": (2e-2, 0)}.get(name, (1e-6, 0))
    return pytest.approx(value, rel=rel, abs=absolute)


def test_every_lane_is_the_run_of_its_config(whole, tmp_path):
    lanes = settings.lanes(_config(schedule__shape="cosine"), _SETTINGS, 2)
    for lane in lanes[1::2] + lanes[2:3]:
        workdir = tmp_path / str(lane.number)
        assert experiment.run(lane.config, workdir) == "completed"
        story = lane_files.read(whole, lane.number)
        theirs = [r for r in records.read(workdir) if r.kind != "curvature"]
        ours = [r for r in story.records if r.kind != "last test"]
        assert [r[:3] for r in ours] == [r[:3] for r in theirs]
        for one, other in zip(ours, theirs, strict=True):
            for name in {*other.values} - {"examples_per_second"}:
                assert one.values[name] == _close(name, other.values[name]), (lane, one, name)
        summary = json.loads((workdir / "summary.json").read_text())
        row = _rows(whole)[lane.number]
        for when, name in (("best", "best"), ("final", "last")):
            for split, values in summary[when].items():
                if isinstance(values, dict):
                    assert row[f"{name}_{split}_loss"] == _close("loss", values["loss"])
                    assert row[f"{name}_{split}_accuracy"] == _close("accuracy", values["accuracy"])
        assert row["best_epoch"] == summary["best"]["validation"]["epoch"]


_IN_FLOAT64 = """
import sys, tempfile
from pathlib import Path
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, "tests")
import test_sweeps as t
from tricks.training import assembly, experiment, records
from tricks.training.sweeps import lane_files, run, settings
narrow = assembly.init
def init(static, hyper, key):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, narrow(static, hyper, key))
assembly.init = init
if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    t._run(folder / "sweep", schedule__shape="cosine")
    worst = 0.0
    for lane in settings.lanes(t._config(schedule__shape="cosine"), t._SETTINGS, 2)[::3]:
        experiment.run(lane.config, folder / str(lane.number))
        ours = [r for r in lane_files.read(folder / "sweep", lane.number).records if r.kind != "last test"]
        for one, other in zip(ours, records.read(folder / str(lane.number)), strict=True):
            for name in {*other.values} - {"examples_per_second"}:
                worst = max(worst, abs(one.values[name] - other.values[name]) / (abs(other.values[name]) + 1e-9))
    print("worst", worst)
"""


def test_in_float64_they_are_so_to_nine_digits(tmp_path):
    (tmp_path / "script.py").write_text(_IN_FLOAT64)
    done = run_python(tmp_path / "script.py", XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done.error[-2000:]
    assert float(done.output.split()[-1]) < 1e-9


def test_numbers_and_seeds_are_no_other_programs(tmp_path):
    counts = []
    for rates in ([1e-3], [1e-3, 1e-2, 1e-1]):
        with _compilations() as found:
            _run(tmp_path / str(len(rates)), [{_RATE: rate, _DROPOUT: 0.1} for rate in rates], seeds=2)
        counts.append(len(found))
    # Start, entrance, a chunk, validation and test, the end of an epoch; the rest are operations on a few numbers.
    assert counts[1] <= counts[0] <= 12
    shapes = [{_RATE: 1e-3, _DROPOUT: 0.1, "model.hidden_sizes": (n,)} for n in (3, 4)]
    with _compilations() as found:
        _run(tmp_path / "groups", shapes, seeds=2)
    assert len(found) <= 2 * counts[0]


def test_a_lane_does_not_depend_on_its_company(whole, tmp_path):
    # One that diverges beside it, one that ends before it, and another place among them.
    others = [{**_SETTINGS[0], _RATE: 1e30}, {**_SETTINGS[0], "train.epochs": 1}, _SETTINGS[1]]
    found = _run(tmp_path / "sweep", others, schedule__shape="cosine")
    assert [row["status"] for row in found.rows] == ["diverged"] * 2 + ["completed"] * 4
    ours, theirs = _rows(tmp_path / "sweep"), _rows(whole)
    for one, other in ((4, 2), (5, 3)):
        for name in ours[one]:
            if name not in ("lane", "setting"):
                assert ours[one][name] == theirs[other].get(name), name
    assert "at step" in ours[0]["message"]
    assert ours[0]["best_validation_loss"] is None  # That of the initial weights is no result.
    assert ours[0]["best_epoch"] is None


def _interrupted_after(monkeypatch, chunks: int) -> None:
    asked = iter(range(chunks))

    @contextlib.contextmanager
    def catch():
        yield lambda: next(asked, None) is None

    monkeypatch.setattr(run, "catch_interrupts", catch)


@pytest.mark.parametrize(("chunks", "steps"), [(0, [7]), (2, [19]), (4, [19, 32])])
def test_an_interrupted_sweep_goes_on_bit_for_bit(whole, tmp_path, monkeypatch, chunks, steps):
    with monkeypatch.context() as patch:
        _interrupted_after(patch, chunks)
        found = _run(tmp_path / "sweep", schedule__shape="cosine")
    assert found.interrupted
    # Six chunks come to two epochs of 19 steps; the lanes of one epoch have ended by then.
    assert sorted({row["steps"] for row in found.rows}) == steps
    assert not _run(tmp_path / "sweep", schedule__shape="cosine").interrupted
    _same(tmp_path / "sweep", whole)


@pytest.mark.parametrize("width", [1, 2])
def test_lanes_wait_for_a_place_and_are_the_same(whole, tmp_path, monkeypatch, width):
    monkeypatch.setattr(memory, "widest_on_cpu", lambda lane: width)
    found = _run(tmp_path / "sweep", schedule__shape="cosine")
    assert json.loads((tmp_path / "sweep" / "widths.json").read_text()) == [width]
    for row, other in zip(found.rows, _rows(whole), strict=True):
        assert row["status"] == "completed"
        for name in ("best_validation_loss", "last_train_loss", "last_test_loss"):
            assert row[name] == _close("loss", other[name])
    # A sweep that goes on keeps the width that it had, for the sake of its roundings.
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "sweep" / "lanes")
    (tmp_path / "sweep" / "results.parquet").rename(tmp_path / "before")
    _run(tmp_path / "sweep", schedule__shape="cosine")
    again = _rows(tmp_path / "sweep")
    (tmp_path / "before").rename(tmp_path / "sweep" / "results.parquet")
    assert again == _rows(tmp_path / "sweep")


_MANY = [{_RATE: rate} for rate in (1e-5, 1e-4, 3e-3, 1e-2, 3e-2, 1e-1)]


def test_halving_keeps_the_better_and_what_it_left_behind_may_be_gone_on_with(tmp_path):
    all_of_them = _run(tmp_path / "all", _MANY, train__epochs=4)
    halved = _run(tmp_path / "halved", _MANY, train__epochs=4, halving=2)
    by_setting = {
        epochs: {row["setting"] for row in halved.rows if row["epochs"] == epochs} for epochs in (1.0, 2.0, 4.0)
    }
    assert [len(by_setting[epochs]) for epochs in (1.0, 2.0, 4.0)] == [3, 1, 2]
    assert {row["status"] for row in halved.rows if row["epochs"] < 4} == {"eliminated"}
    # Whoever goes on was better after an epoch, in the mean over seeds.
    curves = pyarrow.parquet.read_table(tmp_path / "all" / "curves.parquet").to_pylist()
    first = [
        np.mean([r["loss"] for r in curves if r["split"] == "validation" and r["epoch"] == 1 and r["lane"] // 2 == s])
        for s in range(6)
    ]
    assert by_setting[1.0] == {*np.argsort(first)[3:].tolist()}
    gone_on = _run(tmp_path / "halved", _MANY, train__epochs=4)
    assert {row["status"] for row in gone_on.rows} == {"completed"}
    _same(tmp_path / "halved", tmp_path / "all")
    assert all_of_them.rows[0]["status"] == "completed"


def test_settings_that_differ_in_the_last_digits_are_others(tmp_path):
    _run(tmp_path / "sweep", [{_RATE: 0.12345678}], seeds=1, train__epochs=1)
    with pytest.raises(UserError, match=r"is \[0\.12345678\] there, \[0\.123456999\] here"):
        _run(tmp_path / "sweep", [{_RATE: 0.123456999}], seeds=1, train__epochs=1)


def test_lanes_that_wait_at_different_places_of_an_epoch_go_on_bit_for_bit(tmp_path, monkeypatch):
    # Interrupted in the first epoch, then while the better ones of that epoch went on.
    _run(tmp_path / "whole", _MANY, train__epochs=4)
    for chunks, halving in ((1, 0), (2, 3)):
        with monkeypatch.context() as patch:
            _interrupted_after(patch, chunks)
            assert _run(tmp_path / "cut", _MANY, train__epochs=4, halving=halving).interrupted
    steps = {row["steps"] % 19 for row in _rows(tmp_path / "cut")}
    assert len(steps) > 1, steps
    shutil.copytree(tmp_path / "cut", tmp_path / "narrow")
    _run(tmp_path / "cut", _MANY, train__epochs=4)
    _same(tmp_path / "cut", tmp_path / "whole")
    # With fewer at once than wait in the middle.
    monkeypatch.setattr(run, "_widths", lambda *_: [4])
    found = _run(tmp_path / "narrow", _MANY, train__epochs=4)
    assert {(row["status"], row["steps"]) for row in found.rows} == {("completed", 76)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings_of_run": []}, "settings is empty"),
        ({"settings_of_run": {_RATE: 1.0}}, "settings is a dict; give a list of dicts"),
        ({"settings_of_run": [{"nope.x": 1}]}, "nope.x is no field of the config"),
        ({"settings_of_run": [{"seed": 1}]}, "give --seeds=N"),
        ({"settings_of_run": [{_RATE: 0.1}, {_DROPOUT: 0.1}]}, "setting 1 and setting 0 differ in having"),
        ({"settings_of_run": [{_RATE: 0.1}, {_RATE: np.float64(0.1)}]}, "setting 1 is there already, as 0"),
        ({"settings_of_run": [{_RATE: "fast"}]}, "optimizer.learning_rate is 'fast'; it must be of type float"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 1.5}, "seeds is 1.5"),
        ({"halving": 1}, "halving is 1"),
        ({"halving": -3}, "halving is -3"),
    ],
)
def test_what_a_program_gives_is_checked(tmp_path, changes, said):
    with pytest.raises(UserError) as raised:
        _run(tmp_path / "sweep", **{"settings_of_run": _MANY, **changes})
    assert said in str(raised.value)
    assert not (tmp_path / "sweep").exists()


def test_numbers_of_numpy_and_lists_are_taken(tmp_path):
    chosen = [{_RATE: np.float32(0.5), "model.hidden_sizes": [np.int64(3)]}]
    found = run.sweep(_config(train__epochs=1), chosen, workdir=str(tmp_path / "sweep"))
    assert found.rows[0]["model.hidden_sizes"] == (3,)
    assert json.loads((tmp_path / "sweep" / "settings.json").read_text())["settings"] == [
        {_RATE: 0.5, "model.hidden_sizes": [3]}
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lanes/00000.json", '{"records": [[1, 2, "validation", null]]}'),
        ("lanes/00000.json", '{"records": [], "step": "x"}'),
        ("lanes/00000.npz", ""),
        ("lanes/00000.npz", "garbage"),
        ("widths.json", ""),
        ("widths.json", "[0]"),
        ("widths.json", '{"a": 1}'),
    ],
)
def test_what_is_damaged_is_named(tmp_path, monkeypatch, name, content):
    with monkeypatch.context() as patch:
        _interrupted_after(patch, 0)
        _run(tmp_path / "sweep", _MANY[:1], seeds=1)
    if name.endswith("json") and "lanes" in name:
        (tmp_path / "sweep" / "lanes" / "00000.npz").unlink()
    (tmp_path / "sweep" / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} is damaged") as raised:
        _run(tmp_path / "sweep", _MANY[:1], seeds=1)
    assert "remove it" in str(raised.value)


def test_the_best_lane_so_far_is_none_that_diverged(tmp_path, capsys):
    rates = [{_RATE: 1e30}, {_RATE: 1e-2}]
    _run(tmp_path / "sweep", rates, seeds=1, optimizer__name="momentum", model__batch_norm=False)
    capsys.readouterr()
    (tmp_path / "sweep" / "lanes" / "00001.json").unlink()
    _run(tmp_path / "sweep", rates, seeds=1, optimizer__name="momentum", model__batch_norm=False)
    told = capsys.readouterr().out
    assert "(lane 1)" in told
    assert "nan" not in told


def test_early_stopping_ends_a_lane_by_itself(tmp_path):
    chosen = [{"early_stopping.patience": p, "early_stopping.min_delta": d} for p, d in ((0, 0.0), (1, 9.0), (2, 9.0))]
    found = _run(tmp_path / "sweep", chosen, seeds=1, train__epochs=4)
    assert [row["epochs"] for row in found.rows] == [4.0, 1.0, 2.0]
    assert [row["status"] for row in found.rows] == ["completed", "stopped early", "stopped early"]


def test_eight_devices_share_the_lanes_and_speak_to_nobody(whole, tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests'); import test_sweeps as t; from pathlib import Path; import jax\n"
        "from tricks.training.sweeps import programs\n"
        "later = programs._later\n"
        "def heard(traced, options=None):\n"
        "    text = traced.lower().compile().as_text()\n"
        "    assert not any(word in text for word in ('all-reduce', 'all-gather', 'all-to-all', 'permute(')), text\n"
        "    return later(traced, options)\n"
        "programs._later = heard\n"
        "t._run(Path(sys.argv[1]), schedule__shape='cosine')\n"
    )
    (tmp_path / "script.py").write_text(code)
    done = run_python(tmp_path / "script.py", tmp_path / "sweep", devices=8, XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done.error[-3000:]
    assert json.loads((tmp_path / "sweep" / "widths.json").read_text()) == [8]
    for row, other in zip(_rows(tmp_path / "sweep"), _rows(whole), strict=True):
        assert row["last_train_loss"] == _close("loss", other["last_train_loss"])
        assert row["best_test_loss"] == _close("loss", other["best_test_loss"])


def test_the_estimate_of_memory_is_not_less_than_what_xla_takes():
    lanes = settings.lanes(_config(model__hidden_sizes=(256, 256)), [{_RATE: 1e-3}], 1)
    from tricks.training.sweeps import groups, lane_data

    mesh = programs.make_mesh()
    (group,) = groups.divide(lanes, mesh, functools.partial(sources.find, folders=(Path(),)))
    batch = training.assembly.batch_of(group.examples.train, 68)
    estimate = memory.of_lane(group.static, group.hypers[0], batch).bytes
    sizes = []
    for width in (1, 9):
        shapes = lane_data.shapes(group.data, mesh, 64)
        traced = programs.traced(group.static, mesh, group.hypers[0], *shapes, lengths={7}, batch_size=68, width=width)
        analysis = traced.chunks[7].lower().compile().memory_analysis()
        sizes.append(analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes)
    of_lane = (sizes[1] - sizes[0]) / 8
    assert 0.9 * of_lane < estimate < 5 * of_lane
    # Forward and twice backward, but for the gradient of the features, which nobody needs.
    operations = 2 * 68 * (2 * 64 * 256 + 3 * 256 * 256 + 3 * 256 * 10)
    assert memory.of_lane(group.static, group.hypers[0], batch).operations == operations


def test_lanes_that_no_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1e6)
    monkeypatch.setattr("tricks.memory.available", lambda: 1e6)
    small, large = memory.Lane(10_000, 1e6), memory.Lane(200_000, 1e6)
    assert memory.width(100, small, 0, 1) == 8
    assert memory.width(100, large, 0, 1) == 4
    assert memory.width(100, large, 500_000, 1) == 1
    assert memory.width(3, small, 0, 1) == 3
    assert memory.width(3, small, 0, 8) == 8
    assert memory.width(9, small._replace(operations=5e7), 0, 1) == 4
    assert memory.width(9, small._replace(operations=math.inf), 0, 1) == 1
    with pytest.raises(UserError, match="the examples and one lane take"):
        memory.width(100, memory.Lane(2_000_000, 1e6), 0, 1)


def test_a_damaged_lane_is_named(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "sweep")
    (workdir / "lanes" / "00003.json").write_text("{")
    with pytest.raises(UserError, match=r"lanes/00003\.json is damaged .*; remove it, and the lane is trained anew"):
        _run(workdir, schedule__shape="cosine")
    (workdir / "lanes" / "00003.json").unlink()
    _run(workdir, schedule__shape="cosine")
    _same(workdir, whole)


def test_another_sweep_is_refused(whole):
    for changed, said in (
        (
            {"settings_of_run": _SETTINGS[:2]},
            "sweep.optimizer.learning_rate is [0.01, 0.001, 0.03] there, [0.01, 0.001] here",
        ),
        ({"seeds": 3}, "seeds is 2 there, 3 here"),
        ({"data__batch_size": 32}, "data.batch_size is 68 there, 32 here"),
    ):
        with pytest.raises(UserError, match="was made by another config") as raised:
            _run(whole, **{"schedule__shape": "cosine", **changed})
        assert said in str(raised.value)


def test_a_lane_is_exported_and_trains_alike(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "sweep")
    file = export.write(workdir, 3)
    assert file.read_text().startswith('"""Lane 3 of sweep: optimizer.learning_rate=0.001, model.dropout=0.4, ')
    done = train(tmp_path / "run", f"--config={file}", XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best"]["test"]["loss"] == _close("loss", _rows(whole)[3]["best_test_loss"])
    with pytest.raises(UserError, match="--export is 6; the sweep has lanes 0 to 5"):
        export.write(workdir, 6)
    with pytest.raises(UserError, match="holds no sweep"):
        export.write(tmp_path, 0)


def test_the_function_is_where_it_is_promised():
    assert training.sweep is run.sweep
