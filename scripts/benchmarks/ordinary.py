"""Twenty ordinary runs with saddle escape and without: what it costs where there is no saddle to leave."""

import contextlib
import io
import json
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from benchmarks.harness import Comparison, ours, seconds
from tricks.config import Config
from tricks.data import Split
from tricks.training import experiment

_CONFIGS = Path(__file__).parents[2] / "configs"
_OPTIMIZERS = {"momentum": 0.1, "rmsprop": 1e-3, "adam": 1e-3}
_EPOCHS = 10


class _Outcome(NamedTuple):
    best: float
    final: float
    seconds: float
    checks: int
    escapes: int
    products: int


def compare(rounds: int) -> list[Comparison]:
    """Trains each config with escape and without, prints the table, and measures a step that only watches."""
    rows = []
    changes: dict[str, list[float]] = {"best": [], "final": []}
    unchecked = []
    _outcome(_config("digits", 0), False)  # Imports, which the first run would pay for.
    for name, config in _runs():
        without, escaping = (_outcome(config, enabled) for enabled in (False, True))
        if escaping.checks == 0:
            unchecked.append((without.seconds, escaping.seconds))
        for kind, of_kind in changes.items():
            of_kind.append(getattr(escaping, kind) / getattr(without, kind) - 1)
        rows.append(
            (
                name,
                f"{without.final:.4f}",
                f"{escaping.final:.4f}",
                *(f"{of_kind[-1]:+.1%}" for of_kind in changes.values()),
                escaping.checks,
                escaping.escapes,
                escaping.products,
                f"{without.seconds:.1f}",
                f"{escaping.seconds:.1f}",
            )
        )
        print(f"{name}: done", flush=True)
    headers = ("run", "final without", "with", "best", "final", "checks", "escapes", "products", "s without", "s with")
    print(tabulate(rows, headers=headers, disable_numparse=True, tablefmt="github"))
    for kind, of_kind in changes.items():
        error = stdev(of_kind) / len(of_kind) ** 0.5
        print(
            f"change of the {kind} validation loss: mean {mean(of_kind):+.2%}, standard error {error:.2%}, "
            f"median {median(of_kind):+.2%}"
        )
    alone, watching = (sum(spent[i] for spent in unchecked) for i in (0, 1))
    print(f"the {len(unchecked)} runs without a check: {alone:.1f} s without escape, {watching:.1f} s with it")
    return _steps(rounds)


def _runs() -> list[tuple[str, Config]]:
    runs = []
    for name in ("digits", "digits_adam", "digits_momentum", "digits_rmsprop", "digits_root_mean_square"):
        for seed in (0, 1):
            runs.append((f"{name}, seed {seed}", _config(name, seed)))
    for seed in (0, 1):
        runs.append((f"diabetes, seed {seed}", _config("diabetes", seed)))
    for name, rate in _OPTIMIZERS.items():
        for seed in (0, 1):
            config = _config("mnist", seed)
            # With the more usual way to regularize.
            config.model.noise, config.model.input_noise, config.model.dropout = 0.0, 0.0, 0.4
            config.optimizer.name, config.optimizer.learning_rate = name, rate
            config.train.epochs = _EPOCHS
            runs.append((f"mnist, {name}, {_EPOCHS} epochs, seed {seed}", config))
    for name in ("mnist_small_batch", "mnist_large_batch"):
        config = _config(name, 0)
        config.train.epochs = min(config.train.epochs, _EPOCHS)
        runs.append((f"{name}, {config.train.epochs} epochs", config))
    return runs


def _config(name: str, seed: int) -> Config:
    config: Config = runpy.run_path(str(_CONFIGS / f"{name}.py"))["get_config"]()
    config.seed = seed
    return config


def _outcome(config: Config, enabled: bool) -> _Outcome:
    config.escape.enabled = enabled
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        experiment.run(config, Path(directory) / "run")
        spent = time.perf_counter() - start
        summary = json.loads((Path(directory) / "run" / "summary.json").read_text())
    counts = summary.get("escape", {"checks": 0, "escapes": 0, "products": 0})
    best, final = (summary[kind]["validation"]["loss"] for kind in ("best", "final"))
    return _Outcome(best, final, spent, counts["checks"], counts["escapes"], counts["products"])


def _steps(rounds: int) -> list[Comparison]:
    """Steps a second of an optimizer that watches for plateaus beside the same one alone."""
    rows = []
    for case, inputs, hidden, batch in (
        ("MNIST, 512-512", 784, (512, 512), 128),
        ("digits, 128-128", 64, (128, 128), 32),
    ):
        runs = {
            name: _chunk(inputs, hidden, batch, watches) for name, watches in (("alone", False), ("watching", True))
        }
        spent = seconds(runs, rounds)
        own, theirs = (_CHUNK / spent[name] for name in ("watching", "alone"))
        rows.append(
            Comparison(f"a step that watches, {case}, batch {batch}", "without", own, theirs, own / theirs, "steps/s")
        )
    return rows


_CHUNK = 400


def _chunk(inputs: int, hidden: tuple[int, ...], batch: int, watches: bool) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    examples = _CHUNK * batch
    features = rng.normal(size=(examples, inputs)).astype(np.float32)
    config = Config()
    config.data.batch_size = batch
    config.model.hidden_sizes = hidden
    config.model.dropout = 0.2
    config.train.chunk_steps = _CHUNK
    config.escape.enabled = watches
    return ours(config, Split(features, rng.integers(0, 10, examples).astype(np.int32)), 10)
