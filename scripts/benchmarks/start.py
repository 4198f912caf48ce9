"""From shell to shell: the digits job beside a plain PyTorch script of the same job."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jax
import numpy as np

from benchmarks.harness import Comparison
from tricks.config import Config
from tricks.errors import UserError
from tricks.training import computation, programs, saddle
from tricks.training.setup import set_up

_ROOT = Path(__file__).parents[2]
_CASE = "digits, 40 epochs, shell to shell"
_PEER = "a plain PyTorch script"
_CHECK_LIMIT = 3.0


def compare(rounds: int) -> list[Comparison]:
    """Measures first and second starts, with escape and without, and what the first check takes to compile."""
    if not importlib.util.find_spec("torch"):
        raise UserError("PyTorch is not installed; it is what is compared with: requirements-bench.txt")
    with tempfile.TemporaryDirectory() as scratch:
        warm = Path(scratch, "programs")
        cases: dict[str, Callable[[Path], list[str]]] = {
            "PyTorch": lambda directory: ["scripts/benchmarks/start_pytorch.py", str(directory)],
            "first run": _train,
            "second run": _train,
            "second run with escape": lambda directory: [*_train(directory), "--config.escape.enabled=true"],
        }
        for name in ("second run", "second run with escape"):
            _seconds(cases[name], warm)
        measured: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, command in cases.items():
                with tempfile.TemporaryDirectory() as empty:
                    folder = warm if name.startswith("second") else Path(empty)
                    measured[name].append(_seconds(command, folder))
    for name, spent in measured.items():
        print(f"{name}: {', '.join(f'{s:.2f}' for s in sorted(spent))} s")
    medians = {name: median(spent) for name, spent in measured.items()}
    theirs = medians.pop("PyTorch")
    rows = [Comparison(f"{_CASE}, {name}", _PEER, ours, theirs, theirs / ours, "s") for name, ours in medians.items()]
    check = median(_check_seconds() for _ in range(min(rounds, 3)))
    return [
        *rows,
        Comparison(
            "first check of escape, traced and compiled", "limit", check, _CHECK_LIMIT, _CHECK_LIMIT / check, "s"
        ),
    ]


def _train(directory: Path) -> list[str]:
    return ["train.py", "--config=configs/digits.py", f"--workdir={directory / 'run'}"]


def _seconds(command: Callable[[Path], list[str]], programs_folder: Path) -> float:
    environment = {
        **os.environ,
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(programs_folder),
    }
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *command(Path(directory))], cwd=_ROOT, env=environment, check=True, capture_output=True
        )
        return time.perf_counter() - start


def _check_seconds() -> float:
    config = Config()
    config.escape.enabled = True
    setup = set_up(config)
    static = setup.static
    assert static.escape is not None
    computed = computation.prepare(static, setup.hyper, setup.data, setup.plan, on_device=True, seed=0)
    loop = jax.block_until_ready(computed.start())
    samples = saddle.sample(setup.data.train, static.mesh, examples=static.escape.examples, seed=0)
    numbers = programs.as_numbers(setup.hyper)
    jax.clear_caches()
    start = time.perf_counter()
    saddle.compiled_check(static, loop).lower(numbers, loop, samples, np.uint32(0)).compile()
    return time.perf_counter() - start
