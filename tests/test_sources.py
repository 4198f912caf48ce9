"""A person's own files in a run directory: kept as they were, compared when it goes on, and the copies used later."""

import json
import shutil

import jax
import numpy as np
import pytest

from tricks.config import Config
from tricks.errors import UserError
from tricks.training import setup, sources

NETWORK = """
import jax, jax.numpy as jnp
from nets import sizes
from tricks import models
def build(example, outputs):
    width = sizes.WIDTH
    def init(key):
        return {"a": jax.random.normal(key, (2, width)), "b": jnp.ones((width, outputs))}, {}
    return models.from_functions(init, lambda params, state, x, *, rng: (x @ params["a"] @ params["b"], state))
"""
LOSS = """
def absolute(outputs, targets):
    return {"loss": abs(outputs[:, 0] - targets)}
"""
DATA = """
from pathlib import Path
import numpy as np
def load(power=1.0):
    power = power + (Path(__file__).parent / "note.txt").exists()
    return {"x": np.arange(200.0, dtype=np.float32).reshape(100, 2) ** power, "y": np.arange(100.0)}
"""
FILES = {"nets/cnn.py": NETWORK, "nets/sizes.py": "WIDTH = 3\n", "loss.py": LOSS, "data.py": DATA}


def _write(folder, **files):
    for name, text in {**FILES, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _config(data="data.py:load"):
    config = Config()
    config.data.name, config.data.batch_size = data, 8
    config.model.build, config.loss.name, config.early_stopping.metric = "nets.cnn:build", "loss.py:absolute", "loss"
    return config


def _settle(workdir, found, resuming, network=None):
    sources.settle(workdir, found.own, found.data, network or found.network, resuming)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run directory as a run leaves it, with its config."""
    folder = tmp_path_factory.mktemp("made")
    config, workdir = _config(), folder / "run"
    found = setup.set_up(config, (_write(folder / "project"),))
    workdir.mkdir()
    _settle(workdir, found, resuming=False)
    return workdir, config, found


@pytest.fixture
def run(made, tmp_path):
    """A copy of it that may be spoilt."""
    return shutil.copytree(made[0], tmp_path / "copy")


def test_the_copies_are_the_functions_and_make_the_same(made):
    workdir, config, found = made
    copies = {str(path.relative_to(workdir / "sources")) for path in workdir.rglob("*.py")}
    assert copies == {"model.build/nets/cnn.py", "model.build/nets/sizes.py", "loss.name/loss.py", "data.name/data.py"}
    kept = sources.kept(workdir, config)
    assert kept.data is None
    assert {*kept.functions} == {"model.build", "loss.name", "data.name"}
    assert kept.functions["model.build"].main == workdir / "sources" / "model.build" / "nets" / "cnn.py"
    data = sources.load(config, kept)
    jax.tree.map(np.testing.assert_array_equal, data.train, found.data.train)
    assert data.name == "data.py:load"
    sources.check_made(workdir, kept, data, found.network)
    _settle(workdir, found, resuming=True)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"nets/cnn.py": NETWORK + "\n"}, "with another nets/cnn.py (model.build), which is kept as "),
        ({"nets/sizes.py": "WIDTH = 4\n"}, "with another nets/sizes.py (model.build), which is kept as "),
        ({"nets/__init__.py": ""}, "with another nets/__init__.py (model.build), which is kept as "),
        (
            {"nets/cnn.py": NETWORK.replace("from nets import", "import"), "sizes.py": "WIDTH = 3\n"},
            "another nets/cnn.py",
        ),
        ({"loss.py": LOSS + "\n"}, "with another loss.py (loss.name), which is kept as "),
        ({"note.txt": "n"}, "data.py:load (data.name) gives other data than when the run was made; what it reads"),
    ],
)
def test_what_has_changed_is_refused_by_name_until_a_run_begins_anew(run, tmp_path, files, said):
    other = setup.set_up(_config(), (_write(tmp_path / "project", **files),))
    with pytest.raises(UserError) as raised:
        _settle(run, other, resuming=True)
    assert said in str(raised.value)
    _settle(run, other, resuming=False)
    _settle(run, other, resuming=True)


def test_another_network_is_refused_but_not_for_another_version_of_jax(run, made):
    _, _, found = made
    with pytest.raises(
        UserError, match=r"network or the loss of model.build, loss.name, data.name is another one than"
    ):
        _settle(run, found, resuming=True, network="another")
    file = run / "sources.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "versions": {"jax": "0.0.1"}}))
    _settle(run, found, resuming=True, network="another")
    file.unlink()
    _settle(run, found, resuming=True, network="another")
    assert json.loads(file.read_text())["network"] == "another"


def _remove_copy(run):
    (run / "sources" / "model.build" / "nets" / "sizes.py").unlink()


def _change_copy(run):
    (run / "sources" / "loss.name" / "loss.py").write_text("")


def _stored(**changes):
    def change(run):
        stored = json.loads((run / "sources.json").read_text()) | changes
        (run / "sources.json").write_text(
            json.dumps({name: part for name, part in stored.items() if part != "left out"})
        )

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_remove_copy, "sources/model.build/nets/sizes.py is missing or was changed"),
        (_change_copy, "sources/loss.name/loss.py is missing or was changed"),
        (_stored(functions={}), "its sources.json lacks model.build"),
        (_stored(checksum="left out"), r"its sources.json is damaged or missing \(it is no list of sources\)"),
        (lambda run: (run / "sources.json").write_text("{"), "its sources.json is damaged or missing"),
        (lambda run: (run / "sources.json").write_text("3"), "its sources.json is damaged or missing"),
        (lambda run: (run / "sources.json").unlink(), "its sources.json is damaged or missing"),
    ],
)
def test_copies_that_are_not_as_they_were_are_refused(run, made, spoil, said):
    spoil(run)
    with pytest.raises(UserError, match=f"--workdir {run} cannot be used: .*{said}"):
        sources.kept(run, made[1])


def _found(config, folder):
    own = sources.find(config, (folder / "elsewhere", folder))
    return own, sources.load(config, own)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_data_that_have_changed_are_refused(tmp_path, kind):
    config, workdir = Config(), tmp_path / "run"
    workdir.mkdir()
    arrays = {"x": np.arange(200.0).reshape(100, 2), "y": np.arange(100) % 2}

    def write(**arrays):
        if kind == "file":
            np.savez(tmp_path / "own.npz", **arrays)
        for name, array in arrays.items():
            (tmp_path / "own").mkdir(exist_ok=True)
            np.save(tmp_path / "own" / f"{name}.npy", array)

    write(**arrays)
    path = tmp_path / ("own.npz" if kind == "file" else "own")
    config.data.name = path.name if kind == "file" else "./own"
    own, data = _found(config, tmp_path)
    assert own == sources.Sources({}, path)
    assert data.name == config.data.name
    sources.settle(workdir, own, data, "", False)
    (tmp_path / "own" / "notes.txt").write_text("of no matter")
    sources.settle(workdir, own, data, "", True)
    assert sources.kept(workdir, config) == own
    write(**{**arrays, "x": -arrays["x"]})
    with pytest.raises(UserError, match=rf"was made with another {path} \(data.name\), which has changed since"):
        sources.settle(workdir, own, data, "", True)
    with pytest.raises(UserError, match=f"cannot be used: its data {path} has changed since"):
        sources.kept(workdir, config)
    shutil.move(path, tmp_path / "moved")
    with pytest.raises(UserError, match=f"cannot be used: its data {path} is not there any more"):
        sources.kept(workdir, config)


def test_a_run_of_nothing_of_ones_own_keeps_nothing(tmp_path):
    own, data = _found(Config(), tmp_path)
    assert own == sources.Sources({}, None)
    for resuming in (False, True):
        sources.settle(tmp_path, own, data, "", resuming)
    sources.check_made(tmp_path, own, data, "another")
    assert sources.kept(tmp_path, Config()) == own
    assert not [*tmp_path.iterdir()]


def test_paths_of_data_are_told_from_names_of_sets_and_functions(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "at 10:30.d"):
        (tmp_path / "data" / name).mkdir(parents=True)
        np.save(tmp_path / "data" / name / "x.npy", np.ones(3))
    for name, there in (
        ("data/mine", "data/mine"),
        ("mine/", "data/mine"),
        ("~/data/mine/", "data/mine"),
        ("./data/at 10:30.d", "data/at 10:30.d"),
        ("emnist/letters", None),
        ("digits", None),
        ("mine", None),
    ):
        config = Config()
        config.data.name = name
        found = sources.find(config, (tmp_path, tmp_path / "data"))
        assert found == sources.Sources({}, there and tmp_path / there), name
    config.data.name = "nowhere.csv"
    with pytest.raises(UserError, match=f"data.name is 'nowhere.csv'; there is no such file in {tmp_path}"):
        sources.find(config, (tmp_path,))


@pytest.mark.parametrize(("task", "classes"), [("auto", None), ("numbers", None), ("classes", 2)])
def test_targets_are_what_the_loss_or_the_config_says(tmp_path, task, classes):
    np.savez(tmp_path / "own.npz", x=np.arange(200.0).reshape(100, 2), y=np.arange(100) % 2)
    config = Config()
    config.data.name, config.loss.name, config.data.task = "own.npz", "squared_error", task
    assert _found(config, tmp_path)[1].classes == classes
