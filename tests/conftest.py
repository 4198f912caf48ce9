"""Settings of all tests: rank promotion raises, runs happen in a folder of their own, MNIST is prepared once."""

import fcntl
import functools
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# Matrices of tests are small, and there is a worker on every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import forks
import jax
from jax.experimental.compilation_cache import compilation_cache

ROOT = Path(__file__).parents[1]
PLAIN = ROOT / "tests" / "plain_config.py"
MNIST_FILES = ROOT.parent / "shared" / "data" / "mnist"

jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests compile programs of their own, and run them for less time than that takes; commands run with all optimizations.
jax.config.update("jax_disable_most_optimizations", True)
_OF_COMMANDS = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
if jax.__version_info__ < (0, 11) and "XLA_FLAGS" not in os.environ:
    # Of XLA's two ways of making kernels the one that is compiled sooner, for what runs in this process: a fifth of the
    # suite. Commands run with the other, as for those who use them; later versions know no choice.
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"


# What is imported stays, and nearly all of what is traced: to look through it for garbage took an eighth of the time.
gc.set_threshold(20_000, 20, 20)


def pytest_collection_finish() -> None:
    """Leaves what is there before the first test out of the search for garbage."""
    gc.freeze()


# XLA's flags for programs that take longer to compile than to run, in processes of their own.
QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):
    QUICKLY_COMPILED += " --xla_cpu_use_fusion_emitters=false"


class Result(NamedTuple):
    """What a command left behind."""

    status: int
    output: str
    error: str

    def mistake(self) -> str:
        """The one line of a refused command."""
        assert self.status == 2, self
        assert "Traceback" not in self.output + self.error
        lines = self.error.strip().splitlines()
        assert len(lines) == 1, self.error
        assert lines[0].startswith("error: "), lines
        return lines[0]


# Commands run hundreds of times with the same few programs; each is compiled once, for all workers.
if "COMPILED_BY_TESTS" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
    os.environ["COMPILED_BY_TESTS"] = _COMPILED.name
ENVIRONMENT = {
    **_OF_COMMANDS,
    "JAX_COMPILATION_CACHE_DIR": os.environ["COMPILED_BY_TESTS"],
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
}


def _with_devices(devices: int, environment: Mapping[str, str]) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices} {environment.get('XLA_FLAGS', '')}"
    return {**environment, "XLA_FLAGS": flags.strip()}


def run_python(*arguments: str | Path, devices: int = 1, folder: Path = ROOT, **environment: str) -> Result:
    """Runs Python in the repository or another folder with its warnings as errors, on so many CPU devices.

    A script, and -m, runs in a fork that has imported; other arguments, and variables of JAX, in a process of their
    own. XLA_FLAGS are added to that of the devices.
    """
    arguments = tuple(map(str, arguments))
    own = _with_devices(devices, environment)
    forked = arguments[0] == "-m" or arguments[0].endswith(".py")
    if forked and not any(name.startswith("JAX_") for name in environment):
        return Result(*forks.run_script(arguments, folder, own, ENVIRONMENT))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", f"ignore:{forks.LOADER_WARNING}:DeprecationWarning", *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **own},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def train(workdir: Path, *flags: str, devices: int = 1, **environment: str) -> Result:
    """Runs train.py, with the defaults of every field where no config is given."""
    config = [] if any(flag.startswith("--config=") for flag in flags) else [f"--config={PLAIN}"]
    return run_python("train.py", f"--workdir={workdir}", *config, *flags, devices=devices, **environment)


def start(workdir: Path, until_step: int, flags: Sequence[str], devices: int = 1, **environment: str) -> forks.Started:
    """Starts train.py and returns once it has recorded a step."""
    config = [] if any(flag.startswith("--config=") for flag in flags) else [f"--config={PLAIN}"]
    process = forks.Started(
        ("train.py", f"--workdir={workdir}", *config, *flags),
        ROOT,
        _with_devices(devices, environment),
        ENVIRONMENT,
    )
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_running():
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= until_step:
            break
        time.sleep(0.005)
    assert process.is_running(), "the run ended before it could be interrupted"
    return process


def interrupt(
    workdir: Path, number: int, after_step: int, flags: Sequence[str], devices: int = 1, **environment: str
) -> tuple[int, str]:
    """Runs train.py and sends it a signal once it has recorded a step; its exit status and all it printed."""
    process = start(workdir, after_step, flags, devices, **environment)
    process.send(number)
    status, output, error = process.ended(60)
    return status, output + error


def compiled_quickly(*commands: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """The same commands, for tests whose runs are compared with one another alone, by programs of one kind."""
    return tuple(functools.partial(command, XLA_FLAGS=QUICKLY_COMPILED) for command in commands)


def read_metrics(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def compiled_once() -> Iterator[None]:
    """For tests that make programs anew in this process which another has made before: they are compiled once."""
    options = {
        "jax_compilation_cache_dir": ENVIRONMENT["JAX_COMPILATION_CACHE_DIR"],
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def mnist_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MNIST prepared by scripts/prepare_data.py from the four original files."""
    if not MNIST_FILES.is_dir():
        pytest.skip(f"the original MNIST files are not in {MNIST_FILES}")
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow, which prepares MNIST, is not installed: requirements-tfds.txt")
    # Workers share it.
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tensorflow_datasets"
    directory.mkdir(exist_ok=True)
    with open(directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "decoded").exists():
            done = run_python(
                "scripts/prepare_data.py", "mnist", f"--data_dir={directory}", f"--manual_dir={MNIST_FILES}"
            )
            assert done.status == 0, done
            assert "\r" not in done.error, "progress bars off a terminal"
    return directory
