"""The projects of examples/own, in short form."""

import json
from pathlib import Path

import pytest

from conftest import QUICKLY_COMPILED, ROOT, train

OWN = ROOT / "examples" / "own"


def _trained(workdir: Path, name: str, *flags: str, **environment: str) -> dict:
    done = train(workdir, f"--config={OWN / name}.py", *flags, **environment)
    assert done.status == 0, done
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["status"] == "completed"
    return summary["best"]


def test_a_table_with_a_text_target(tmp_path):
    best = _trained(tmp_path / "run", "iris", XLA_FLAGS=QUICKLY_COMPILED)
    assert best["test"]["accuracy"] >= 0.85
    sources = json.loads((tmp_path / "run" / "sources.json").read_text())
    assert sources["class_names"] == ["setosa", "versicolor", "virginica"]
    assert sources["columns"] == ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def test_a_regression_with_two_outputs(tmp_path):
    best = _trained(tmp_path / "run", "ink_place", XLA_FLAGS=QUICKLY_COMPILED)
    # In units of the standard deviation; without what is learned the loss would be near a half less its tail.
    assert best["test"]["loss"] < 0.05
    assert 0 < best["test"]["largest_error"] < 0.4


def test_a_transformer_sorts(tmp_path):
    small = ("width=16", "depth=1")
    flags = ("--config.train.epochs=3", "--config.data.options.examples=3000")
    flags += tuple(f"--config.model.options.{option}" for option in small)
    best = _trained(tmp_path / "run", "sorting", *flags, XLA_FLAGS=QUICKLY_COMPILED)
    # The most frequent token of each place is right for less than a third.
    assert best["test"]["accuracy"] > 0.4


def test_a_convolutional_network_on_mnist(tmp_path, mnist_directory):
    flags = (
        *("--config.train.epochs=2", "--config.data.train_fraction=0.03", "--config.model.options.width=4"),
        *("--config.data.batch_size=32", f"--config.data.directory={mnist_directory}"),
    )
    best = _trained(tmp_path / "run", "mnist_cnn", *flags)
    assert best["test"]["accuracy"] > 0.7


@pytest.mark.parametrize("path", sorted(OWN.glob("*.py")), ids=lambda path: path.stem)
def test_a_config_is_a_few_lines(path):
    text = path.read_text()
    if "get_config" in text:
        assert f"python train.py --config=examples/own/{path.name}" in text
        assert len(text.split("get_config")[1].splitlines()) <= 16
