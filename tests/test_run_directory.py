"""What is in a run directory stays as it was put there: by the run, by the user, by a run of another kind."""

import dataclasses
import errno
import functools
import json
import math
import os
import shutil

import jax
import jax.numpy as jnp
import optax
import pytest

from conftest import QUICKLY_COMPILED, run_python, train
from tricks import early_stopping, transforms
from tricks.cli.json_files import read_json, write_json
from tricks.config import Config, flatten
from tricks.errors import UserError
from tricks.training import checkpoints, older_states, records, run_directory, stored_weights
from tricks.training.state import LoopState, TrainState, weights

LAMB = functools.partial(transforms.lamb, mask=None, trust_mask=None)
FLAGS = ("--config.train.epochs=2",)


def _state(step, size=3, dtype=jnp.float32, optimizer=optax.adam):
    params = {"w": jnp.full(size, step, dtype)}
    state = TrainState(jnp.int32(step), params, {}, optimizer(0.1).init(params), jax.random.key(0))
    return LoopState(state, jax.tree.map(jnp.copy, weights(state)), early_stopping.init())


def _saved(directory, *steps):
    opened = checkpoints.open_directory(directory)
    for step in steps:
        checkpoints.save(opened, _state(step), {"seconds": 1.0})
    return opened


def _restored(directory, like=None):
    loop, _ = checkpoints.restore(checkpoints.open_directory(directory), like or _state(0))
    return int(loop.train.step)


def _names(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.iterdir())


@pytest.mark.parametrize(
    ("like", "said"),
    [
        ({"dtype": jnp.bfloat16}, "['w'] is float32[3] there, bfloat16[3] here"),
        ({"size": 4}, "['w'] is float32[3] there, float32[4] here"),
        ({"optimizer": optax.sgd}, "opt_state[0].count is int32[] there, missing here"),
    ],
)
def test_a_checkpoint_of_another_kind_is_named_and_left_where_it_is(tmp_path, like, said):
    _saved(tmp_path, 1, 2)
    with pytest.raises(UserError, match=r"checkpoint of step 2 .* is of another kind of run") as refused:
        _restored(tmp_path, _state(0, **like))
    assert said in str(refused.value)
    assert _names(tmp_path) == ["00000001", "00000002"]
    assert _restored(tmp_path) == 2


def test_damage_is_told_from_another_kind(tmp_path):
    _saved(tmp_path, 1, 2)
    progress = tmp_path / "00000002" / "progress" / "metadata"
    # A flipped bit that leaves good JSON, and would read as another type.
    progress.write_text(progress.read_text().replace("float32[3]", "float36[3]", 1))
    assert _restored(tmp_path) == 1
    assert _names(tmp_path) == ["00000001", "unreadable"]


def test_a_copy_under_a_later_step_is_no_checkpoint_of_that_step(tmp_path):
    _saved(tmp_path, 1, 2)
    shutil.copytree(tmp_path / "00000002", tmp_path / "00009999")
    opened = checkpoints.open_directory(tmp_path)
    loop, _ = checkpoints.restore(opened, _state(0))
    assert int(loop.train.step) == 2
    checkpoints.save(opened, _state(3), {"seconds": 1.0})
    assert _restored(tmp_path) == 3, "what is promised is there"


def test_a_checkpoint_that_is_declined_is_no_checkpoint(tmp_path):
    opened = _saved(tmp_path, 5)
    checkpoints.save(opened, _state(5), {"seconds": 1.0})  # That of a finished run, once more.
    with pytest.raises(UserError, match=r"checkpoint of step 4 cannot be written .*5 is there"):
        checkpoints.save(opened, _state(4), {"seconds": 1.0})


def test_the_same_step_may_be_damaged_again_and_again(tmp_path):
    for again in range(3):
        opened = checkpoints.open_directory(tmp_path)
        for step in (1, 2):
            checkpoints.save(opened, _state(step), {"seconds": 1.0})
        (tmp_path / "00000002" / "progress" / "metadata").write_text("")
        assert _restored(tmp_path) == 1, again
    assert _names(tmp_path / "unreadable") == ["00000002", "00000002-2", "00000002-3"]


def test_those_who_only_read_take_any_precision(tmp_path):
    _saved(tmp_path, 7)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), weights(_state(0).train))
    for which in ("last", "best"):
        found, _ = stored_weights.read(tmp_path, which, wide)
        assert found.params["w"].dtype == jnp.bfloat16
        assert found.params["w"].tolist() == [7.0] * 3
    with pytest.raises(UserError, match=r"is float32\[3\] in the checkpoint, float32\[4\] here"):
        stored_weights.read(tmp_path, "last", weights(_state(0, size=4).train))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert train(workdir, *FLAGS).status == 0
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_resumption_leaves_what_is_the_users(run):
    mine = ["events.csv", ".writable", "events.out.tfevents.1.mine", "notes.tmp", ".lock"]
    mine += ["metrics.jsonl.tmp", "summary.json.tmp", "config.json.tmp"]
    for name in mine:
        (run / name).write_text("mine")
    folders = ["events.dir", "events.out.tfevents.1.host.tricks"]
    for name in folders:
        (run / name).mkdir()
    done = train(run, *FLAGS)
    assert done.status == 0, done
    assert all((run / name).read_text() == "mine" for name in mine)
    assert all((run / name).is_dir() for name in folders)
    assert len([path for path in run.glob("events.out.tfevents.*.tricks") if path.is_file()]) == 1


def test_another_precision_is_the_users_mistake_and_moves_nothing(run):
    before = _names(run / "checkpoints")
    done = train(run, *FLAGS, JAX_ENABLE_X64="1", XLA_FLAGS=QUICKLY_COMPILED)
    assert "and JAX_ENABLE_X64, as they were" in done.mistake()
    (run / "config.json").write_text("{}")
    assert "config.json" in run_python("scripts/spectrum.py", f"--workdir={run}").mistake()
    assert _names(run / "checkpoints") == before


def test_a_field_that_an_older_run_lacks_has_its_default(run):
    stored = read_json(run / "config.json")
    for name in ("escape.noise", "model.activation"):
        del stored[name]
    write_json(run / "config.json", stored)
    done = train(run, *FLAGS)
    assert done.status == 0, done
    assert "escape.noise is False there, True here" in train(run, *FLAGS, "--config.escape.noise=true").mistake()


def test_a_checkpoint_of_the_version_whose_rates_had_another_name_goes_on(tmp_path):
    def state(step):
        return _state(step, optimizer=lambda rate: transforms.adam(rate * (step + 1)))

    opened = checkpoints.open_directory(tmp_path)
    checkpoints.save(opened, older_states.as_stored(state(7), [".learning_rate"]), {"seconds": 1.0})
    assert "].learning_rate" in (tmp_path / "00000007" / "progress" / "metadata").read_text()
    loop, _ = checkpoints.restore(checkpoints.open_directory(tmp_path), state(0))
    assert jax.tree.structure(loop) == jax.tree.structure(state(0))
    assert float(transforms.current_learning_rate(loop.train.opt_state)) == pytest.approx(0.8)


def test_lamb_of_the_version_that_counted_once_goes_on(tmp_path):
    def state(step):
        return _state(step, optimizer=lambda rate: LAMB(rate * (step + 1)))

    opened = checkpoints.open_directory(tmp_path)
    seven = state(7)
    seven = seven._replace(
        train=dataclasses.replace(seven.train, opt_state=optax.tree.set(seven.train.opt_state, count=jnp.int32(7)))
    )
    checkpoints.save(opened, older_states.as_stored(seven, [".learning_rate"]), {"seconds": 1.0})
    assert ".decay" not in (tmp_path / "00000007" / "progress" / "metadata").read_text()
    loop, _ = checkpoints.restore(checkpoints.open_directory(tmp_path), state(0))
    assert jax.tree.structure(loop) == jax.tree.structure(state(0))
    assert [int(count) for _, count in optax.tree.get_all_with_path(loop.train.opt_state, "count")] == [7, 7, 7]


def _without_layout(checkpoint):
    """As versions wrote it that kept no types and shapes."""
    file = checkpoint / "progress" / "metadata"
    progress = json.loads(file.read_text())
    file.write_text(json.dumps({name: progress[name] for name in ("spent", "scalars", "checksum", "weights")}))


@pytest.mark.parametrize("like", [{"dtype": jnp.bfloat16}, {"size": 4}, {"optimizer": optax.sgd}, {"optimizer": LAMB}])
def test_an_older_checkpoint_of_another_kind_is_left_where_it_is(tmp_path, like):
    _saved(tmp_path, 1, 2)
    for step in (1, 2):
        _without_layout(tmp_path / f"0000000{step}")
    with pytest.raises(UserError, match=r"checkpoint of step 2 .* is of another kind of run"):
        _restored(tmp_path, _state(0, **like))
    assert _names(tmp_path) == ["00000001", "00000002"]
    assert _restored(tmp_path) == 2


def test_an_older_checkpoint_that_is_damaged_is_moved_aside(tmp_path):
    _saved(tmp_path, 1, 2)
    _without_layout(tmp_path / "00000002")
    files = [path for path in (tmp_path / "00000002" / "latest").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-9])
    assert _restored(tmp_path) == 1
    assert _names(tmp_path) == ["00000001", "unreadable"]


@pytest.mark.parametrize(("field", "value"), [("model.skips", 3), ("seed", "x"), ("loss.name", "hinge")])
def test_those_who_only_read_name_the_file_of_a_config_that_is_none(run, field, value):
    write_json(run / "config.json", read_json(run / "config.json") | {field: value})
    line = run_python("scripts/spectrum.py", f"--workdir={run}").mistake()
    assert f"--workdir {run} cannot be used: in its config.json, {field} is " in line


def test_fields_of_another_version_are_named(tmp_path):
    fields = flatten(Config())
    with run_directory.opened(tmp_path, fields) as resuming:
        assert not resuming
    with run_directory.opened(tmp_path, fields) as resuming:
        assert resuming
    write_json(tmp_path / "config.json", fields | {"model.skips": 3})
    with pytest.raises(UserError, match=r"model.skips is 3 there, None here"), run_directory.opened(tmp_path, fields):
        pass


def test_of_two_that_begin_at_once_the_second_changes_nothing(tmp_path, monkeypatch):
    fields = flatten(Config())
    with run_directory.opened(tmp_path, fields):
        # As if the second had looked before the first wrote.
        look = run_directory._is_there
        monkeypatch.setattr(
            run_directory, "_is_there", lambda *_: monkeypatch.setattr(run_directory, "_is_there", look)
        )
        with pytest.raises(UserError, match="in use"), run_directory.opened(tmp_path, fields | {"seed": 7}):
            pass
        assert read_json(tmp_path / "config.json")["seed"] == 0


def test_a_directory_that_cannot_be_written_any_more_is_named(tmp_path):
    with (
        pytest.raises(UserError, match=r"cannot be written to any more; .* \(No space left on device: x\)"),
        run_directory.opened(tmp_path, flatten(Config())),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")


_TRAIN = {"step": 80, "epoch": 2, "split": "train", "loss": 1.0, "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3", "it is no object"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(_TRAIN | {"loss": "low"}), "loss is 'low'"),
        (json.dumps(_TRAIN | {"loss": [1.0]}), "loss is '[1.0]'"),
        (json.dumps(_TRAIN | {"loss": True}), "loss is 'True'"),
        (json.dumps(_TRAIN | {"step": True}), "a step and an epoch, integers"),
        (json.dumps(_TRAIN | {"step": -1}), "a step and an epoch, integers"),
        (json.dumps(_TRAIN | {"epoch": 1.5}), "a step and an epoch, integers"),
        (json.dumps(_TRAIN | {"split": 1}), "and a split"),
        (json.dumps(_TRAIN | {"step": 40}), "step 40 does not follow 40"),
        ('{"step": 80, "epoch": 2, "split": "train"}', "train without loss, learning_rate"),
        ('{"step": 80, "epoch": 2, "split": "validation", "accuracy": 1}', "validation without loss"),
        ('{"step": 80, "epoch": 2, "split": "escape", "outcome": 4}', "outcome is '4'"),
        ('{"step": 80, "epoch": 2, "split": "escape", "outcome": "escaped"}', "escape without loss, loss_after"),
    ],
)
def test_a_line_of_metrics_of_another_shape_is_damage(tmp_path, line, said):
    (tmp_path / records.FILE).write_text(f"{json.dumps(_TRAIN | {'step': 40})}\n{line}\n")
    with pytest.raises(UserError, match=r"line 2 of .* is damaged") as refused:
        records.read(tmp_path)
    assert said in str(refused.value)


def test_damaged_metrics_are_refused_before_anything_is_trained(run):
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 80, "epoch": 2, "split": "validation", "loss": "low"}\n')
    (run / "summary.json").unlink()
    assert "is damaged (loss is 'low')" in train(run, *FLAGS).mistake()
    assert not (run / "summary.json").exists()


def test_json_files_hold_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": [math.nan, 1.0], "b": {"c": -math.inf}})
    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert read == {"a": [None, 1.0], "b": {"c": None}}
