"""What happens beside a run: checkpoints, pictures and events, in threads and processes of their own."""

import json
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from conftest import ROOT
from tricks import early_stopping
from tricks.errors import UserError
from tricks.training import artist, checkpoints, events, saver
from tricks.training.records import Record
from tricks.training.state import LoopState, TrainState, weights


def _loop_state(step, value=1.0):
    params = {"w": jnp.full(3, value)}
    state = TrainState(jnp.int32(step), params, {}, optax.adam(0.1).init(params), jax.random.key(0))
    return LoopState(state, jax.tree.map(jnp.copy, weights(state)), early_stopping.init())


def _steps(directory):
    return sorted(int(path.name) for path in directory.iterdir())


def test_the_newest_two_are_written_and_what_they_overtake_is_not(tmp_path, monkeypatch):
    written, may_write = [], threading.Event()
    save = checkpoints.save

    def slow_save(opened, loop, spent):
        may_write.wait(60)
        written.append(int(loop.train.step))
        save(opened, loop, spent)

    monkeypatch.setattr(checkpoints, "save", slow_save)
    writer = saver.Saver(tmp_path / "checkpoints")
    for step in (1, 2, 3, 4):
        writer.save(_loop_state(step), {"seconds": float(step)})
    may_write.set()
    writer.wait()
    # What was being written when the newest two came is the thread's own affair: it begins when it can.
    assert written in ([1, 3, 4], [2, 3, 4], [3, 4])
    assert _steps(tmp_path / "checkpoints") == [3, 4]
    restored, spent = saver.Saver(tmp_path / "checkpoints").restore(_loop_state(0))
    assert (int(restored.train.step), spent) == (4, {"seconds": 4.0})
    assert writer.describe_last() == "the last good checkpoint is of step 4"


def test_large_states_are_written_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(saver, "_SMALL", 0)
    written = []
    monkeypatch.setattr(checkpoints, "save", lambda opened, loop, spent: written.append(int(loop.train.step)))
    writer = saver.Saver(tmp_path / "checkpoints")
    for step in range(5):
        writer.save(_loop_state(step), {})
        assert len(written) >= step
    writer.wait()
    assert written == list(range(5))


def test_what_is_saved_is_the_state_of_that_moment(tmp_path):
    step = jax.jit(
        lambda state: jax.tree.map(lambda a: a + 1 if a.dtype == jnp.float32 else a, state), donate_argnums=0
    )
    writer = saver.Saver(tmp_path / "checkpoints")
    loop = _loop_state(7)
    writer.save(loop, {})
    for _ in range(20):
        loop = loop._replace(train=step(loop.train))
    writer.wait()
    restored, _ = writer.restore(_loop_state(0))
    np.testing.assert_array_equal(restored.train.params["w"], 1)
    assert int(restored.train.step) == 7
    assert jax.random.key_data(restored.train.rng).tolist() == jax.random.key_data(jax.random.key(0)).tolist()


def test_a_write_that_fails_is_told_by_the_next_call(tmp_path, monkeypatch):
    def failing(opened, loop, spent):
        raise UserError("no space left")

    monkeypatch.setattr(checkpoints, "save", failing)
    writer = saver.Saver(tmp_path / "checkpoints")
    writer.save(_loop_state(1), {})
    with pytest.raises(UserError, match="no space left"):
        writer.wait()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="checkpoints cannot be written to"):
        saver.Saver(tmp_path / "file" / "checkpoints")


def _records(directory):
    lines = [Record(0, 0, "validation", {"loss": 2.0, "accuracy": 0.5})]
    lines += [Record(4, 1, "train", {"loss": 1.0, "accuracy": 0.6, "learning_rate": 0.1})]
    rows = [{"step": r.step, "epoch": r.epoch, "split": r.kind, **r.values} for r in lines]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lines


_OPTIONS = {"steps_per_epoch": 4, "best_step": 0, "title": "title"}


def test_the_picture_is_drawn_by_another_process_and_by_this_one_if_that_fails(tmp_path, monkeypatch):
    _records(tmp_path)
    picture = tmp_path / "curves.png"
    monkeypatch.setattr(artist, "_NEEDED", "not imported in this process")
    pictures = []
    for executable in (sys.executable, "/bin/false", "/nowhere"):
        monkeypatch.setattr(artist.sys, "executable", executable)
        with artist.Artist() as beside:
            beside.begin(tmp_path, **_OPTIONS)
            beside.finish()
        pictures.append(picture.read_bytes())
        picture.unlink()
    assert pictures[0].startswith(b"\x89PNG")
    assert pictures[1] == pictures[2] == pictures[0]


def test_nobody_waits_for_a_picture_that_was_not_ordered(tmp_path, monkeypatch):
    monkeypatch.setattr(artist, "_NEEDED", "not imported in this process")
    with artist.Artist() as beside:
        process = beside._process
    assert process.poll() is not None


def test_a_failing_event_file_is_told_at_the_end(tmp_path):
    sink = events.Events(tmp_path / "nowhere" / "below", [])
    sink.write(Record(1, 1, "train", {"loss": 1.0}))
    sink.close()
    (tmp_path / "file").write_text("mine")
    sink = events.Events(tmp_path / "file", [])
    with pytest.raises(OSError, match="file"):
        sink.close()


_NO_TORCH = """
import sys, types
class Torch:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] != "torch", name
sys.meta_path.insert(0, Torch())
import atexit
atexit.register(lambda: print("sklearn" in sys.modules))
sys.argv = ["train.py", *sys.argv[1:]]
import runpy
runpy.run_path("train.py", run_name="__main__")
"""


def test_a_run_imports_neither_pytorch_nor_scikit_learn(tmp_path):
    command = [sys.executable, "-c", _NO_TORCH, f"--workdir={tmp_path}", "--config.train.epochs=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("False\n")
    assert list(tmp_path.glob("events.*"))
