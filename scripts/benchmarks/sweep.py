"""A sweep beside the same trainings one by one: runs of train.py, one compiled program, PyTorch, Optuna."""

import functools
import importlib.util
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

from benchmarks.harness import Comparison, seconds
from tricks.config import Config
from tricks.training import computation, experiment, setup, sources
from tricks.training.loop import Sinks
from tricks.training.sweeps import groups, lane_data, programs, settings
from tricks.training.sweeps.lane_data import Examples

_ROOT = Path(__file__).parents[2]
_RATE, _RATES, _SEEDS = "optimizer.learning_rate", "1e-4:1:log:16", 4
_LANES = 64
_FEW = 4  # Of them are run from the shell, spread over all, and stand for 64.
_WIDTHS = (1, 4, 16, 64, 256)


def compare(rounds: int) -> list[Comparison]:
    """Measures 64 lanes of the digits job beside the same runs one by one, and what more lanes at once bring."""
    with tempfile.TemporaryDirectory() as scratch:
        warm = Path(scratch, "programs")
        cases: dict[str, Callable[[], float]] = {
            "ours": lambda: _shell(_sweep),
            "64 cold runs of train.py": lambda: _runs(None),
            "64 runs with a warm compile cache": lambda: _runs(warm),
            "64 runs of one compiled program in one process": _in_one_process,
        }
        if importlib.util.find_spec("torch"):
            cases["PyTorch, a plain script in one process"] = lambda: _pytorch("plain")
            if importlib.util.find_spec("optuna"):
                cases["PyTorch driven by Optuna"] = lambda: _pytorch("optuna")
        _runs(warm)
        measured: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(min(rounds, 3)):
            for name, case in cases.items():
                measured[name].append(case())
    for name, spent in measured.items():
        print(f"{name}: {', '.join(f'{s:.1f}' for s in sorted(spent))} s")
    medians = {name: median(spent) for name, spent in measured.items()}
    mine = medians.pop("ours")
    rows = [
        Comparison("digits, 16 rates x 4 seeds", name, mine, theirs, theirs / mine, "s")
        for name, theirs in medians.items()
    ]
    return rows + _widths(rounds)


def _sweep(directory: Path) -> list[str]:
    return ["scripts/sweep.py", f"--sweep.{_RATE}={_RATES}", f"--seeds={_SEEDS}", f"--workdir={directory / 'sweep'}"]


def _shell(command: Callable[[Path], Sequence[str]], programs_folder: Path | None = None) -> float:
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as empty:
        environment = {
            **os.environ,
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "JAX_COMPILATION_CACHE_DIR": str(programs_folder or empty),
        }
        start = time.perf_counter()
        script, *flags = command(Path(directory))
        arguments = [sys.executable, script, "--config=configs/digits.py", *flags]
        done = subprocess.run(arguments, cwd=_ROOT, env=environment, check=False, capture_output=True)
        spent = time.perf_counter() - start
        assert done.returncode in (0, 3), done.stderr.decode()
        return spent


def _lanes() -> list[settings.Lane]:
    base: Config = runpy.run_path(str(_ROOT / "configs" / "digits.py"))["get_config"]()
    return settings.lanes(base, settings.grid(settings.parse_ranges({_RATE: _RATES}, base)), _SEEDS)


def _runs(programs_folder: Path | None) -> float:
    chosen = _lanes()[1 :: _LANES // _FEW]

    def command(lane: settings.Lane, directory: Path) -> list[str]:
        rate, seed = lane.config.optimizer.learning_rate, lane.config.seed
        return ["train.py", f"--config.{_RATE}={rate}", f"--config.seed={seed}", f"--workdir={directory / 'run'}"]

    return sum(_shell(lambda d, lane=lane: command(lane, d), programs_folder) for lane in chosen) * _LANES / _FEW  # type: ignore[misc]


def _in_one_process() -> float:
    """Compiled once, nothing written: a fourth of the lanes, which stand for all."""
    chosen = _lanes()[1::4]
    start = time.perf_counter()
    for lane in chosen:
        made = setup.set_up(lane.config)
        computed = computation.prepare(
            made.static, made.hyper, made.data, made.plan, on_device=made.on_device, seed=lane.config.seed
        )
        sinks = Sinks(lambda _: None, lambda *_: None, lambda _: None, lambda: False)
        patience = lane.config.early_stopping.patience
        experiment.train(computed, made.rules, computed.start(), sinks, patience=patience)
        if lane is chosen[0]:
            first = time.perf_counter() - start
    rest = time.perf_counter() - start - first
    return first + rest * (_LANES - 1) / (len(chosen) - 1)


def _pytorch(how: str) -> float:
    few = 8
    command = [sys.executable, str(_ROOT / "scripts/benchmarks/sweep_pytorch.py"), how, str(few)]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    trained = float(done.stdout.split()[-1])
    return time.perf_counter() - start - trained + trained * _LANES / few


def _widths(rounds: int) -> list[Comparison]:
    """Chunks of a 64-32-10 network with so many lanes at once, seconds and bytes of each lane."""
    config = Config()
    config.model.hidden_sizes = (32,)
    lanes = settings.lanes(config, [{_RATE: 1e-3}], 1)
    mesh = programs.make_mesh()
    (group,) = groups.divide(lanes, mesh, functools.partial(sources.find, folders=(Path(),)))
    runs, needed = {}, {}
    for width in _WIDTHS:
        runs[str(width)], needed[width] = _chunk(group, mesh, width)
    spent = seconds(runs, rounds)
    print("lanes at once: microseconds a step of each lane; MiB in all, arguments, results and between")
    for width in _WIDTHS:
        each = 1e6 * spent[str(width)] / width / group.plan.chunk_lengths[0]
        print(f"{width:4d}: {each:7.1f} us, {needed[width] / 2**20:7.1f} MiB")
    alone = spent["1"]
    return [
        Comparison(
            f"64-32-10, {width} lanes at once",
            "one lane at a time",
            spent[str(width)] / width,
            alone,
            alone * width / spent[str(width)],
            "s",
        )
        for width in _WIDTHS[1:]
    ]


def _chunk(group: groups.Group, mesh: jax.sharding.Mesh, width: int) -> tuple[Callable[[], object], int]:
    length = group.plan.chunk_lengths[0]
    shapes = lane_data.shapes(group.data, mesh, 256)
    traced: Any = programs.traced(
        group.static, mesh, group.hypers[0], *shapes, lengths={length}, batch_size=group.plan.batch_size, width=width
    )
    chunk = traced.chunks[length].lower().compile()
    hyper = jax.device_put(programs.stacked([group.hypers[0]] * width), programs.by_lane(mesh))
    put = lambda rows: jax.device_put(rows, programs.by_lane(mesh))  # noqa: E731
    loops = traced.start.lower().compile()(hyper, put(np.arange(width, dtype=np.uint32)))
    features, targets = lane_data.on_devices(group.data, mesh)
    none = put(np.zeros(width, np.int32))
    generator = np.random.default_rng(0)
    rows = put(generator.integers(0, group.data.targets.rows, (width, length, group.plan.batch_size)).astype(np.int32))
    states = [loops.train]

    def run() -> object:
        train, metrics = chunk(hyper, states.pop(), Examples(features, targets, none, none), rows)
        states.append(train)
        return jax.block_until_ready((train, metrics))

    memory = chunk.memory_analysis()
    return run, memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
