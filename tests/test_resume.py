"""An interrupted run ends bit for bit as one that was never interrupted."""

import json
import shutil
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import conftest
from conftest import compiled_quickly, read_metrics
from tricks import early_stopping
from tricks.training import checkpoints, run_directory, state, stored_weights

# Each run is compared with others of its programs alone.
start, interrupt, train = compiled_quickly(conftest.start, conftest.interrupt, conftest.train)

# 40 steps an epoch in chunks of 5, so that signals arrive in the middle of epochs; dropout, batch normalization, Adam
# and a schedule, so that every kind of state matters; a checkpoint every third epoch.
FLAGS = (
    "--config.train.epochs=24",
    "--config.train.chunk_steps=5",
    "--config.model.dropout=0.3",
    "--config.schedule.shape=cosine",
    "--config.schedule.warmup_steps=50",
    "--config.checkpoint.every_epochs=3",
    "--config.early_stopping.min_delta=0.001",
)


def _arrays(workdir: Path) -> dict[str, np.ndarray]:
    newest = max(path for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    checkpointer = ocp.StandardCheckpointer()
    found = {}
    for item in ("latest", "best"):
        tree = checkpointer.restore(newest / item)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            found[item + jax.tree_util.keystr(path)] = np.asarray(leaf)
    progress = json.loads((newest / "progress" / "metadata").read_text())
    return found | {name: np.asarray(value) for name, value in progress["scalars"].items()}


def _same_runs(one: Path, other: Path) -> None:
    def lines(workdir):
        return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_metrics(workdir)]

    assert lines(one) == lines(other)
    a, b = _arrays(one), _arrays(other)
    assert set(a) == set(b)
    assert any("mu" in k or ".m" in k or "'m'" in k for k in a), sorted(a)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    summaries = [json.loads((workdir / "summary.json").read_text()) for workdir in (one, other)]
    for summary in summaries:
        assert 0 < summary["best"].pop("seconds") <= summary["final"].pop("seconds")
    for key in ("best", "final", "status", "config", "parameters"):
        assert summaries[0][key] == summaries[1][key]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = train(workdir, *FLAGS)
    assert done.status == 0, done
    return workdir


SHORT = ("--config.train.epochs=3", "--config.checkpoint.every_epochs=1")


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """A run for others to copy."""
    workdir = tmp_path_factory.mktemp("runs") / "short"
    assert train(workdir, *SHORT).status == 0
    return workdir


def test_interrupted_run_saves_and_goes_on(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    for number, after in ((signal.SIGINT, 150), (signal.SIGTERM, 400)):
        status, output = interrupt(workdir, number, after, FLAGS)
        assert status == 130, output
        assert "Traceback" not in output
        assert "interrupted" in output
        assert "the same command goes on from step" in output
        assert json.loads((workdir / "summary.json").read_text())["status"] == "interrupted"
        newest = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
        assert newest == max(line["step"] for line in read_metrics(workdir)), "the checkpoint is of the last step"
    done = train(workdir, *FLAGS)
    assert done.status == 0, done
    assert "resuming" in done.output
    _same_runs(uninterrupted, workdir)


def test_killed_run_goes_on_from_its_last_checkpoint(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    # Before the first checkpoint, at step 120, and between later ones.
    for after in (60, 200, 400):
        status, output = interrupt(workdir, signal.SIGKILL, after, FLAGS)
        assert status == -signal.SIGKILL, output
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 99999, "epo')  # A line that the kill cut short.
    done = train(workdir, *FLAGS)
    assert done.status == 0, done
    _same_runs(uninterrupted, workdir)


def test_a_run_that_is_interrupted_in_a_cooldown_of_saddle_escape_goes_on_alike(tmp_path):
    flags = (
        "--config.train.epochs=40",
        "--config.train.chunk_steps=5",
        "--config.checkpoint.every_epochs=10",
        "--config.escape.enabled=true",
        "--config.escape.window=20",
        "--config.escape.min_improvement=0.5",
        "--config.escape.cooldown=200",
        "--config.escape.share=1.0",
    )
    assert train(tmp_path / "whole", *flags).status == 0
    checked = [line["step"] for line in read_metrics(tmp_path / "whole") if line["split"] == "escape"]
    assert len(checked) >= 3, checked
    # After the first check, before the second.
    status, output = interrupt(tmp_path / "cut", signal.SIGTERM, checked[0] + 40, flags)
    assert status == 130, output
    assert max(line["step"] for line in read_metrics(tmp_path / "cut")) < checked[1]
    assert train(tmp_path / "cut", *flags).status == 0
    _same_runs(tmp_path / "whole", tmp_path / "cut")


def test_finished_run_is_shown_again_and_not_changed(uninterrupted):
    before, metrics = _arrays(uninterrupted), read_metrics(uninterrupted)
    done = train(uninterrupted, *FLAGS)
    assert done.status == 0, done
    assert "resuming" in done.output
    assert "test" in done.output
    assert read_metrics(uninterrupted) == metrics
    after = _arrays(uninterrupted)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_metrics_of_the_older_form_are_read(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "run")
    of_steps = dict.fromkeys(["gradient_norm", "learning_rate", "examples_per_second"])
    older = [of_steps | line for line in read_metrics(uninterrupted)]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    done = train(tmp_path / "run", *FLAGS)
    assert done.status == 0, done
    assert read_metrics(tmp_path / "run") == read_metrics(uninterrupted)


def test_another_config_is_refused_and_its_fields_are_named(uninterrupted):
    before = (uninterrupted / "metrics.jsonl").read_text()
    line = train(uninterrupted, *FLAGS, "--config.optimizer.learning_rate=0.5", "--config.seed=7").mistake()
    assert "optimizer.learning_rate is 0.001 there, 0.5 here" in line
    assert "seed is 0 there, 7 here" in line
    assert (uninterrupted / "metrics.jsonl").read_text() == before


def test_two_signals_end_it_at_once_and_quietly(uninterrupted, tmp_path):
    for attempt in range(3):
        process = start(tmp_path, 150 * (attempt + 1), FLAGS)
        process.send(signal.SIGINT)
        process.send(signal.SIGINT)
        time.sleep(0.01)
        process.send(signal.SIGINT)
        status, *printed = process.ended(60)
        output = "".join(printed)
        assert status == 130, output
        assert "Traceback" not in output
    done = train(tmp_path, *FLAGS)
    assert done.status == 0, done
    _same_runs(uninterrupted, tmp_path)
    assert all(path.name.isdigit() for path in (tmp_path / "checkpoints").iterdir()), "nothing half-written is left"


def test_damaged_metrics_are_refused_by_line_and_missing_ones_are_said(short, tmp_path):
    workdir = shutil.copytree(short, tmp_path / "run")
    metrics = workdir / "metrics.jsonl"
    whole = metrics.read_bytes()
    lines = whole.split(b"\n")
    for damage in (b"garbage", b"\xff\xfe", b'{"step": "x"}', b"[]"):
        damaged = b"\n".join([lines[0], damage, *lines[2:]])
        metrics.write_bytes(damaged)
        done = train(workdir, *SHORT)
        assert done.status == 2, done
        assert "line 2 of" in done.error
        assert metrics.read_bytes() == damaged, "it is left as it was"
    metrics.unlink()
    done = train(workdir, *SHORT)
    assert done.status == 0, done
    assert "lacks records up to step 120" in done.output


_SCALARS = {
    "negative nan": np.uint32(0xFFC00000).view(np.float32),
    "nan with bits": np.uint32(0x7FC00123).view(np.float32),
    "infinity": np.float32(-np.inf),
    "negative zero": np.float32(-0.0),
    "smallest": np.uint32(1).view(np.float32),
    "integer": np.int32(-(2**31)),
    "boolean": np.bool_(True),
    "narrow": jnp.bfloat16(1.1),
}


def _loop_state(train_state):
    copy = jax.tree.map(jnp.copy, state.weights(train_state))
    return state.LoopState(train_state, copy, early_stopping.init())


def test_scalars_of_a_checkpoint_come_back_bit_for_bit(tmp_path):
    scalars = {name: jnp.asarray(value) for name, value in _SCALARS.items()}
    params = scalars | {"array": jnp.ones(3)}
    train_state = state.TrainState(jnp.int32(0), params, {}, optax.sgd(0.1).init(params), jax.random.key(0))
    saved = checkpoints.open_directory(tmp_path / "checkpoints")
    checkpoints.save(saved, _loop_state(train_state), {})
    restored, _ = checkpoints.restore(saved, _loop_state(jax.tree.map(jnp.zeros_like, train_state)))
    for name, value in _SCALARS.items():
        for params in (restored.train.params, restored.best.params):
            assert params[name].dtype == value.dtype
            assert np.asarray(params[name]).tobytes() == np.asarray(value).tobytes(), name
    # And so those who read the weights alone.
    like = jax.tree.map(jnp.zeros_like, state.weights(train_state))
    for which in ("last", "best"):
        weights, step = stored_weights.read(tmp_path / "checkpoints", which, like)
        assert step == 0
        for name, value in _SCALARS.items():
            assert np.asarray(weights.params[name]).tobytes() == np.asarray(value).tobytes(), (which, name)


def test_second_run_on_a_workdir_in_use_is_refused(short, tmp_path):
    workdir = shutil.copytree(short, tmp_path / "run")
    with run_directory.opened(workdir, run_directory.read_config(workdir)):
        done = train(workdir, *SHORT)
    assert done.status == 2
    assert "is in use by another run" in done.error
    assert train(workdir, *SHORT).status == 0, "the lock goes with the run"


def _damage(checkpoint: Path, how: str) -> None:
    files = sorted((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    if how == "emptied":
        for file in files:
            file.write_bytes(b"")
    elif how == "flipped":
        content = bytearray(files[-1].read_bytes())
        content[len(content) // 2] ^= 0xFF
        files[-1].write_bytes(content)
    elif how == "missing":
        for file in files:
            if "best" in file.parts:
                file.unlink()


@pytest.mark.parametrize("how", ["emptied", "flipped", "missing"])
def test_damaged_checkpoint_falls_back_to_the_one_before(short, tmp_path, how):
    workdir = shutil.copytree(short, tmp_path / "run")
    before = _arrays(short)
    _damage(workdir / "checkpoints" / "00000120", how)
    done = train(workdir, *SHORT)
    assert done.status == 0, done
    assert "the checkpoint of step 120 cannot be read" in done.output
    assert "going back to that of step 80" in done.output
    assert "resuming" in done.output
    for name, value in _arrays(workdir).items():
        np.testing.assert_array_equal(before[name], value)


def test_no_readable_checkpoint_is_a_mistake_that_loses_nothing(short, tmp_path):
    workdir = shutil.copytree(short, tmp_path / "run")
    kept = len(list((workdir / "checkpoints").iterdir()))
    assert kept >= 2
    for checkpoint in (workdir / "checkpoints").iterdir():
        _damage(checkpoint, "emptied")
    done = train(workdir, *SHORT)
    assert done.status == 2, done
    assert "are damaged; choose another --workdir" in done.error
    assert "Traceback" not in done.error
    assert len(list((workdir / "checkpoints").iterdir())) == kept
