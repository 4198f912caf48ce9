"""A network, a loss, data and an augmentation of a person's own through the commands, as the built-in ones."""

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import conftest
from conftest import compiled_quickly, read_metrics
from tricks.cli import option_flags
from tricks.config import Config
from tricks.diagnosis import finished_run
from tricks.errors import UserError
from tricks.training import setup

# Each run is compared with others of its programs alone, and most compile some of their own.
interrupt, run_python, train = compiled_quickly(conftest.interrupt, conftest.run_python, conftest.train)

LAYERS = """
from flax import nnx
class Block(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.convolution = nnx.Conv(inputs, outputs, (3, 3), use_bias=False, rngs=rngs)
        self.normalization = nnx.BatchNorm(outputs, rngs=rngs)
    def __call__(self, x):
        return nnx.relu(self.normalization(self.convolution(x)))
"""
NETWORK = """
from flax import nnx
from layers import Block
from tricks import models
class CNN(nnx.Module):
    def __init__(self, shape, outputs, width, rngs):
        self.block = Block(shape[-1], width, rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(width * shape[0] * shape[1] // 16, outputs, rngs=rngs)
    def __call__(self, x):
        x = nnx.avg_pool(self.block(x), (4, 4), strides=(4, 4))
        return self.last(self.dropout(x.reshape(len(x), -1)))
def build(example, outputs, width=4):
    return models.from_nnx(lambda rngs: CNN(example.shape[1:], outputs, width, rngs))
"""
LOSS = """
import jax, jax.numpy as jnp
def focal(outputs, targets, gamma=2.0):
    p = jnp.take_along_axis(jax.nn.softmax(outputs), targets[:, None], axis=1)[:, 0]
    return {"loss": -((1 - p) ** gamma) * jnp.log(p), "sure": (p > 0.5).astype(p.dtype), "probability": p}
"""
DATA = """
import numpy as np
from tricks import data
def load(noise=0.0):
    digits = data.load("digits", normalization="none")
    parts = (digits.train, digits.validation, digits.test)
    pictures = np.concatenate([part.features for part in parts]).reshape(-1, 8, 8, 1)
    noisy = pictures + np.random.default_rng(0).normal(0, noise, pictures.shape)
    return {"features": noisy.astype(np.float32), "targets": np.concatenate([part.targets for part in parts])}
"""
CHANGE = """
import jax
def brighter(key, batch):
    return batch._replace(features=batch.features * (1 + 0.1 * jax.random.normal(key, (len(batch.targets), 1, 1, 1))))
"""
CONFIG = """
from tricks.config import Config
def get_config():
    config = Config()
    config.data.name = "data.py:load"
    config.data.options = {"noise": 1.0}
    config.data.augment.shift = 1.0
    config.data.augment.mixup = 0.2
    config.data.augment.function = "change.py:brighter"
    config.model.build = "network.py:build"
    config.loss.name = "loss.py:focal"
    config.early_stopping.metric = "sure"
    config.early_stopping.mode = "max"
    config.optimizer.learning_rate = 0.01
    config.train.epochs = 4
    return config
"""
FILES = {"layers": LAYERS, "network": NETWORK, "loss": LOSS, "data": DATA, "change": CHANGE, "config": CONFIG}
LONG = (
    *("--config.train.epochs=12", "--config.train.chunk_steps=5", "--config.checkpoint.every_epochs=3"),
    *("--config.escape.enabled", "--config.escape.window=50", "--config.escape.examples=64"),
    *("--config.curvature.every_epochs=6", "--config.curvature.examples=64", "--config.model.options.width=3"),
)


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**FILES, **files}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return _write(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def short(project) -> Path:
    """A short run."""
    done = train(project / "short", f"--config={project}/config.py")
    assert done.status == 0, done
    assert "8x8x1 features, 10 classes" in done.output
    return project / "short"


def _lines(workdir):
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_metrics(workdir)]


def test_all_measures_are_recorded_and_the_best_epoch_is_by_one_of_them(short):
    rows = {split: [row for row in _lines(short) if row["split"] == split] for split in ("train", "validation", "test")}
    for row in (*rows["train"], *rows["validation"], *rows["test"]):
        assert {"loss", "sure", "probability"} <= {*row}
        assert "accuracy" not in row
    best = max(rows["validation"], key=lambda row: row["sure"])
    summary = json.loads((short / "summary.json").read_text())
    assert summary["best"]["validation"]["sure"] == best["sure"] > 0
    assert (short / "curves.png").stat().st_size > 10_000
    fields = json.loads((short / "config.json").read_text())
    assert fields["model.options.width"] == 4
    assert fields["loss.options.gamma"] == 2.0
    assert fields["data.options.noise"] == 1.0


def test_the_files_are_kept_and_rebuild_the_same_network(short, tmp_path):
    workdir = shutil.copytree(short, tmp_path / "run")
    sources = workdir / "sources"
    kept = {str(path.relative_to(sources)): path.read_text() for path in sources.rglob("*") if path.is_file()}
    assert kept == {
        "model.build/network.py": NETWORK,
        "model.build/layers.py": LAYERS,
        "loss.name/loss.py": LOSS,
        "data.name/data.py": DATA,
        "data.augment.function/change.py": CHANGE,
    }
    run = finished_run.load(workdir, "best")
    outputs, _ = run.network.apply(*run.weights, run.data.test.features)
    measured = {name: float(np.mean(values)) for name, values in run.loss(outputs, run.data.test.targets).items()}
    test = next(row for row in read_metrics(workdir) if row["split"] == "test")
    assert measured == pytest.approx({name: test[name] for name in measured}, rel=1e-4)
    # The copies count, not what has become of the originals.
    (sources / "model.build" / "layers.py").write_text(LAYERS + "\n")
    done = run_python("scripts/spectrum.py", f"--workdir={workdir}")
    assert "sources/model.build/layers.py is missing or was changed" in done.mistake()


def test_a_spectrum_of_it(short):
    done = run_python("scripts/spectrum.py", f"--workdir={short}", "--examples=200")
    assert done.status == 0, done
    assert "verdict" in done.output
    assert {"spectrum.json", "spectrum.png", "surface.png"} <= {path.name for path in short.iterdir()}


def test_it_goes_on_bit_for_bit_and_escapes_and_looks_at_curvature(project):
    flags = (f"--config={project}/config.py", *LONG)
    whole, cut = project / "whole", project / "cut"
    done = train(whole, *flags)
    assert done.status == 0, done
    kinds = {row["split"] for row in _lines(whole)}
    assert {"escape", "curvature"} <= kinds
    for number, after in ((signal.SIGTERM, 200),):
        status, output = interrupt(cut, number, after, flags)
        assert status == 130, output
    assert train(cut, *flags).status == 0
    assert _lines(cut) == _lines(whole)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_eight_devices_and_streamed_examples_train_alike(project, short, placement, tmp_path):
    flags = (f"--config={project}/config.py", f"--config.data.placement={placement}")
    done = train(tmp_path / "run", *flags, devices=8 if placement == "device" else 1)
    assert done.status == 0, done
    for row, same in zip(_lines(tmp_path / "run"), _lines(short), strict=True):
        assert row["loss"] == pytest.approx(same["loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layers", "made with another layers.py (model.build), which is kept as"),
        ("loss", "made with another loss.py (loss.name)"),
        ("change", "made with another change.py (data.augment.function)"),
        ("data", "made with another data.py (data.name)"),
    ],
)
def test_a_changed_file_is_refused_by_name(short, tmp_path, name, said):
    project = _write(tmp_path, **{name: FILES[name] + "\n"})
    workdir = shutil.copytree(short, tmp_path / "run")
    mistake = train(workdir, f"--config={project}/config.py").mistake()
    assert said in mistake
    if name == "data":  # The files as they were go on.
        _write(tmp_path)
        assert train(workdir, f"--config={project}/config.py").status == 0


def test_data_that_comes_out_otherwise_is_refused(tmp_path):
    counted = DATA.replace("default_rng(0)", "default_rng()")
    project = _write(tmp_path, data=counted)
    flags = (f"--config={project}/config.py", "--config.train.epochs=1")
    assert train(tmp_path / "run", *flags).status == 0
    said = "data.py:load (data.name) gives other data than when the run was made"
    assert said in train(tmp_path / "run", *flags).mistake()
    with pytest.raises(UserError, match=re.escape(said)):
        finished_run.load(tmp_path / "run")


def test_a_network_that_reads_another_file_is_refused(tmp_path):
    read = "def build(example, outputs, width=4):\n    width = int((Path(__file__).parent / 'w.txt').read_text())"
    network = NETWORK.replace("def build(example, outputs, width=4):", f"from pathlib import Path\n{read}")
    project = _write(tmp_path, network=network)
    (tmp_path / "w.txt").write_text("3")
    flags = (f"--config={project}/config.py", "--config.train.epochs=1")
    assert train(tmp_path / "run", *flags).status == 0
    finished_run.load(tmp_path / "run")
    (tmp_path / "w.txt").write_text("5")
    said = "the network or the loss of model.build, loss.name, data.name, data.augment.function is another one"
    assert said in train(tmp_path / "run", *flags).mistake()
    with pytest.raises(UserError, match=said):
        finished_run.load(tmp_path / "run")


def _network(
    init="params = {'w': jnp.zeros((64, 10))}",
    apply="x @ params['w']",
    state="{}",
    new="state",
    made="models.from_functions",
):
    return f"""
import jax, jax.numpy as jnp, numpy as np
from tricks import models
def build(example, outputs, width=4):
    def init(key):
        {init}
        return params, {state}
    def apply(params, state, x, *, rng, batch_statistics=None):
        x = x.reshape(len(x), -1)
        return {apply}, {new}
    return {made}(init, apply)
"""


@pytest.mark.parametrize(
    ("files", "flags", "said"),
    [
        ({}, ["model.build=nets.py:build"], r"model.build is 'nets.py'; there is no such file in "),
        ({}, ["model.build=network.py:biuld"], r"network.py has no function biuld; did you mean build?"),
        ({}, ["model.build=cnn"], "model.build is 'cnn'; allowed: perceptron, or a function of your own as file.py:"),
        ({}, ["model.options.widht=3"], "model.options.widht is no option of network.py:build; did you mean width?"),
        ({}, ["model.options.width=wide"], "model.options.width is 'wide'; it must be of type int"),
        ({}, ["model.build=perceptron", "model.options.width=3"], "model.options.width is an option of no function"),
        ({}, ["model.hidden_sizes=64,64"], "model.hidden_sizes is (64, 64), which network.py:build does not use"),
        ({}, ["early_stopping.metric=accuracy"], "allowed: loss, probability, sure"),
        ({}, ["loss.name=loss.py:vocal"], "loss.py has no function vocal; did you mean focal?"),
        ({}, ["loss.options.gama=1"], "loss.options.gama is no option of loss.py:focal; did you mean gamma?"),
        ({}, ["data.name=data.py:laod"], "data.py has no function laod; did you mean load?"),
        ({"network": "import nonsense"}, [], "it raised ModuleNotFoundError at network.py, line 1: "),
        ({"network": "\n\ndef build(example, outputs):\n    return example.nothing"}, [], "at network.py, line 4: "),
        ({"network": "def build(example, outputs):\n    return 3"}, [], "it gives a int; allowed: a tricks.models.Net"),
        ({"network": _network(apply="x @ params")}, [], "it raised TypeError at network.py, line 10: "),
        (
            {"network": _network("params = {'w': jnp.zeros((64, 9))}")},
            ["loss.name=cross_entropy"],
            "it gives outputs of shape (32, 9) for targets of shape (32,); the loss needs (32, 10)",
        ),
        (
            {"network": _network("params = {'w': jnp.zeros((64, 10), int)}")},
            [],
            "; parameter 'w' is of int32; allowed: float",
        ),
        ({"network": _network("params = {}", "x[:, :10]")}, [], "; the network has no parameters; allowed: "),
        (
            {"network": _network(apply="x @ params['w'] + np.random.normal()")},
            [],
            "it is not the same at every call in evaluation mode",
        ),
        (
            {"network": _network("params = {'w': jnp.zeros((64, 10), int)}", made="models.Network")},
            [],
            "its parameter ['w'] is of int32; allowed: floating-point numbers",
        ),
        (
            {"network": _network(state="{'m': jnp.zeros(64)}", new="{'m': x.mean(axis=0)}", made="models.Network")},
            [],
            "its model state takes the batch into account in evaluation mode",
        ),
        (
            {"network": _network(state="{'m': jnp.zeros(3)}", new="{'m': state['m'] if rng is None else x[0]}")},
            [],
            "; model state 'm' was float32[3] and is float32[64] after a step; allowed: one shape and",
        ),
        (
            {
                "network": _network(
                    state="{'m': jnp.zeros(3)}",
                    new="{'m': state['m'] if rng is None else x[0]}",
                    made="models.Network",
                )
            },
            [],
            "its model state ['m'] is float32[3] before a call in training and float32[64] after it",
        ),
        (
            {"network": _network("params = {'w': jnp.asarray(np.random.normal(size=(64, 10)))}")},
            [],
            "two calls give different networks, or different initial weights for one key",
        ),
        (
            {"network": NETWORK.replace("len(x), -1))", "len(x), -1), deterministic=False)")},
            [],
            "its random stream 'dropout.rngs' in evaluation mode",
        ),
        (
            {"loss": "def focal(outputs, y):\n    return {'loss': (outputs[:, :1] - y[None]).mean(axis=1)}"},
            [],
            "loss of an example depends on the other examples of its batch; outputs are of shape (32, 10) and targets",
        ),
        (
            {"loss": "def focal(outputs, targets):\n    return {'loss': outputs[:, 0], 'epoch': outputs[:, 1]}"},
            [],
            "a measure is called 'epoch'; allowed: letters",
        ),
        (
            {"loss": "def focal(outputs, targets):\n    return {'loss': outputs.mean()}"},
            [],
            "loss is of shape (); allowed: (32,), a value for each example of the batch: leave out its mean",
        ),
        ({"loss": "def focal(outputs, targets):\n    return outputs.mean()"}, [], "allowed: a dict of measures"),
        (
            {"loss": "import jax.numpy as jnp\ndef focal(outputs, targets):\n    return {'loss': outputs @ targets}"},
            [],
            "it raised TypeError at loss.py, line 3: ",
        ),
        (
            {"data": "def load(noise):\n    return open('/nowhere/file')"},
            [],
            "raised FileNotFoundError at data.py, line 2",
        ),
        ({"change": "def brighter(key, batch):\n    return key.nothing"}, [], "augment.function is 'change.py:brig"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(tmp_path, files, flags, said):
    project = _write(tmp_path, **files)
    config = _config(project)
    if "loss" in files or "loss.name=cross_entropy" in flags:
        flags = [*flags, "early_stopping.metric=loss", "early_stopping.mode=auto"]
    for flag in flags:
        field, _, text = flag.partition("=")
        section, _, name = field.partition(".options.")
        if name:
            getattr(config, section).options[name] = option_flags.value_of(text)
        else:
            section, name = field.split(".")
            setattr(getattr(config, section), name, option_flags.value_of(text))
    with pytest.raises(UserError) as raised:
        setup.set_up(config, (tmp_path / "elsewhere", project))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_measure_that_is_never_finite_cannot_choose_the_best_weights(tmp_path):
    project = _write(tmp_path, loss=LOSS.replace('"probability": p', '"probability": p, "sure_too": p + jnp.nan'))
    flags = (f"--config={project}/config.py", "--config.early_stopping.metric=sure_too", "--config.train.epochs=1")
    done = train(tmp_path / "run", *flags)
    assert done.status == 3, done
    assert "early_stopping.metric was finite in no validation" in done.error


def test_a_refusal_is_one_line_of_the_command(tmp_path):
    project = _write(tmp_path, network="\n\ndef build(example, outputs):\n    return example.nothing")
    flags = (f"--config={project}/config.py", "--config.model.options.widht=3")
    mistake = train(tmp_path / "run", *flags).mistake()
    assert "model.options.widht is no option of network.py:build; options: none" in mistake
    assert "at network.py, line 4: " in train(tmp_path / "run", flags[0]).mistake()
    assert not (tmp_path / "run").exists()


def _config(project):
    space: dict = {}
    exec((project / "config.py").read_text(), space)
    return space["get_config"]()


def test_targets_that_the_perceptron_does_not_fit_are_refused_too(tmp_path):
    np.savez(tmp_path / "one_hot.npz", x=np.eye(60, dtype=np.float32), y=np.eye(3, dtype=int)[np.arange(60) % 3])
    config = Config()
    config.data.name = str(tmp_path / "one_hot.npz")
    said = (
        r"gives outputs of shape \(32, 2\) for targets of shape \(32, 3\); the loss .*; targets that are one-hot rows"
    )
    with pytest.raises(UserError, match=said):
        setup.set_up(config)


def test_each_number_of_a_target_is_an_output(tmp_path):
    np.savez(tmp_path / "numbers.npz", x=np.eye(60, dtype=np.float32), y=np.ones((60, 3), np.float32).cumsum(axis=0))
    config = Config()
    config.data.name, config.loss.name = str(tmp_path / "numbers.npz"), "squared_error"
    config.early_stopping.metric = "loss"
    assert setup.set_up(config).static.outputs == 3
