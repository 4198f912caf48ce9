"""Training steps a second on MNIST shapes, and the digits main job from shell to shell."""

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.harness import Comparison, ours, seconds
from tricks.config import Config
from tricks.data import Split

_INPUTS, _HIDDEN, _CLASSES = 784, 512, 10
_BATCH, _STEPS, _EXAMPLES = 128, 421, 54_000
_DROPOUT, _RATE = 0.2, 1e-3
_CASE = "784-512-512-10, BN, dropout .2, Adam, batch 128"
_LIMIT = 15.0
_MOVED = {"shift": 2.0, "rotation": 15.0, "scale": 0.2}
_AUGMENTED: dict[str, dict[str, Any]] = {
    "shift, rotation and scale": _MOVED,
    "all seven": {**_MOVED, "noise": 0.1, "cutout": 8, "feature_dropout": 0.1, "mixup": 0.2},
}


def compare(rounds: int) -> list[Comparison]:
    """Measures ours, a Flax loop, PyTorch, the matrix products alone, and the start of the main job."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(_EXAMPLES, _INPUTS)).astype(np.float32)
    targets = rng.integers(0, _CLASSES, _EXAMPLES).astype(np.int32)
    cases = {
        "ours": _ours(features, targets),
        "Flax nnx.jit in a Python loop": _flax_loop(features, targets),
        "floor: its 8 matrix products in a scan": _products(_eight),
        "floor: the 6 largest of them": _products(_six_largest),
        "floor: 6 without the gradients of inputs": _products(_six_without_gradients_of_inputs),
    }
    if importlib.util.find_spec("torch"):
        cases["PyTorch eager, fused Adam"] = _pytorch(features, targets)
    else:
        print("PyTorch is not installed; skipped (requirements-bench.txt)")
    cases |= {name: _augmented(features, targets, strengths) for name, strengths in _AUGMENTED.items()}
    per_second = {name: _STEPS / spent for name, spent in seconds(cases, rounds).items()}
    own = per_second.pop("ours")
    changed = {name: per_second.pop(name) for name in _AUGMENTED}
    rows = [Comparison(_CASE, peer, own, theirs, own / theirs, "steps/s") for peer, theirs in per_second.items()]
    rows += [Comparison(name, "without", rate, own, rate / own, "steps/s") for name, rate in changed.items()]
    start = _main_job(min(rounds, 3))
    return [*rows, Comparison("digits, shell to shell", "limit", start, _LIMIT, _LIMIT / start, "s")]


def _ours(features: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
    return ours(_config(), Split(features, targets), _CLASSES)


def _augmented(features: np.ndarray, targets: np.ndarray, strengths: dict[str, Any]) -> Callable[[], object]:
    config = _config()
    for name, strength in strengths.items():
        setattr(config.data.augment, name, strength)
    return ours(config, Split(features.reshape(-1, 28, 28, 1), targets), _CLASSES)


def _config() -> Config:
    config = Config()
    config.data.batch_size = _BATCH
    config.model.hidden_sizes = (_HIDDEN, _HIDDEN)
    config.model.dropout = _DROPOUT
    config.optimizer.learning_rate = _RATE
    config.train.chunk_steps = _STEPS
    return config


class _FlaxNetwork(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(_INPUTS, _HIDDEN, rngs=rngs)
        self.first_norm = nnx.BatchNorm(_HIDDEN, rngs=rngs)
        self.second = nnx.Linear(_HIDDEN, _HIDDEN, rngs=rngs)
        self.second_norm = nnx.BatchNorm(_HIDDEN, rngs=rngs)
        self.dropout = nnx.Dropout(_DROPOUT, rngs=rngs)
        self.last = nnx.Linear(_HIDDEN, _CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.dropout(nnx.relu(self.first_norm(self.first(x))))
        x = self.dropout(nnx.relu(self.second_norm(self.second(x))))
        return self.last(x)


def _flax_loop(features: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
    model = _FlaxNetwork(nnx.Rngs(0))
    flax_optimizer = nnx.Optimizer(model, optax.adam(_RATE), wrt=nnx.Param)

    @nnx.jit
    def train_step(model: Any, flax_optimizer: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def loss_fn(model: Any) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        loss, gradients = nnx.value_and_grad(loss_fn)(model)
        flax_optimizer.update(model, gradients)
        return loss

    batches = [
        (jnp.asarray(features[i * _BATCH : (i + 1) * _BATCH]), jnp.asarray(targets[i * _BATCH : (i + 1) * _BATCH]))
        for i in range(_STEPS)
    ]

    def run() -> object:
        for x, y in batches:
            loss = train_step(model, flax_optimizer, x, y)
        return jax.block_until_ready((loss, nnx.state(model, nnx.Param)))

    return run


def _products(of_one_step: Callable[..., Any]) -> Callable[[], object]:
    keys = jax.random.split(jax.random.key(0), 4)
    w1 = jax.random.normal(keys[0], (_INPUTS, _HIDDEN))
    w2 = jax.random.normal(keys[1], (_HIDDEN, _HIDDEN))
    w3 = jax.random.normal(keys[2], (_HIDDEN, _CLASSES))
    x = jax.random.normal(keys[3], (_BATCH, _INPUTS))

    def body(weights: Any, _: None) -> tuple[Any, None]:
        # Each step's products depend on those of the step before, so that none can be moved out of the loop.
        return jax.tree.map(lambda w: w * 1e-9, of_one_step(x, *weights)), None

    scan = jax.jit(lambda weights: jax.lax.scan(body, weights, None, length=_STEPS)[0])
    return lambda: jax.block_until_ready(scan((w1, w2, w3)))


def _eight(x: jax.Array, w1: jax.Array, w2: jax.Array, w3: jax.Array) -> tuple[jax.Array, ...]:
    h1 = x @ w1
    h2 = h1 @ w2
    d3 = h2 @ w3
    d2 = d3 @ w3.T
    d1 = d2 @ w2.T
    return x.T @ d1, h1.T @ d2, h2.T @ d3


def _six_largest(x: jax.Array, w1: jax.Array, w2: jax.Array, w3: jax.Array) -> tuple[jax.Array, ...]:
    h1 = x @ w1
    h2 = h1 @ w2
    d3 = h2 @ w3
    d1 = h2 @ w2.T
    return x.T @ d1, h1.T @ h2, w3 + d3[:1]


def _six_without_gradients_of_inputs(
    x: jax.Array, w1: jax.Array, w2: jax.Array, w3: jax.Array
) -> tuple[jax.Array, ...]:
    h1 = x @ w1
    h2 = h1 @ w2
    d3 = h2 @ w3
    return x.T @ h1, h1.T @ h2, h2.T @ d3


def _pytorch(features: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
    import torch

    network = torch.nn.Sequential(
        torch.nn.Linear(_INPUTS, _HIDDEN),
        torch.nn.BatchNorm1d(_HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(_DROPOUT),
        torch.nn.Linear(_HIDDEN, _HIDDEN),
        torch.nn.BatchNorm1d(_HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(_DROPOUT),
        torch.nn.Linear(_HIDDEN, _CLASSES),
    )
    adam = torch.optim.Adam(network.parameters(), _RATE, fused=True)
    x, y = torch.from_numpy(features[: _STEPS * _BATCH]), torch.from_numpy(targets[: _STEPS * _BATCH]).long()

    def run() -> object:
        for i in range(_STEPS):
            rows = slice(i * _BATCH, (i + 1) * _BATCH)
            adam.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x[rows]), y[rows])
            loss.backward()
            adam.step()
        return loss.item()

    return run


def _main_job(rounds: int) -> float:
    root = Path(__file__).parents[2]
    spent = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as workdir:
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "train.py", "--config=configs/digits.py", f"--workdir={workdir}/run"],
                cwd=root,
                check=True,
                capture_output=True,
            )
            spent.append(time.perf_counter() - start)
    return median(spent)
