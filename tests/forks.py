"""Runs a script in a fork of a process that has imported everything: imports take longer than a short run itself."""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import re
import runpy
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

# ml_collections loads config files in a way that Python deprecates.
LOADER_WARNING = "the load_module() method is deprecated"
_LIMIT = 300
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "tricks.training.experiment",
        "tricks.diagnosis.spectrum",
        "tricks.training.sweeps.run",
        "pyarrow.parquet",
        "sklearn.datasets",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
    ]
)


def run_script(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], shared: Mapping[str, str]
) -> tuple[int, str, str]:
    """Runs a script, or a package, as `python ARGUMENTS` does, with warnings as errors.

    Args:
        arguments: the script's path, or `-m` and the package's name, and its own arguments.
        folder: to run in.
        environment: variables of this script; none that is read by an import.
        shared: variables of the process that imports, the same at every call.

    Returns:
        Its exit status, and what it printed to standard output and standard error.
    """
    started = Started(arguments, folder, environment, shared)
    return started.ended(_LIMIT)


class Started:
    """A script that is running in a fork; the arguments are those of `run_script`."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], shared: Mapping[str, str]
    ) -> None:
        with _environment(shared):
            multiprocessing.forkserver.ensure_running()
        self._scratch = tempfile.TemporaryDirectory()
        self._printed = Path(self._scratch.name, "output"), Path(self._scratch.name, "error")
        self._command = " ".join(arguments)
        self._process = _FORKS.Process(target=_script, args=(list(arguments), folder, dict(environment), self._printed))
        self._process.start()

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self._process.pid, number)

    def ended(self, limit: float) -> tuple[int, str, str]:
        """Waits for its end, and gives its exit status, and what it printed to standard output and standard error."""
        self._process.join(limit)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            self._scratch.cleanup()
            raise TimeoutError(f"{self._command} did not end within {limit} s")
        output, error = (path.read_text() if path.exists() else "" for path in self._printed)
        self._scratch.cleanup()
        return self._process.exitcode, output, error


def _script(arguments: list[str], folder: Path, environment: dict[str, str], printed: tuple[Path, Path]) -> None:
    for descriptor, path in zip((1, 2), printed, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.update(environment)
    os.chdir(folder)
    np.random.seed()  # noqa: NPY002  Forks would all draw alike, and hide what is not seeded.
    warnings.resetwarnings()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", re.escape(LOADER_WARNING), DeprecationWarning)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = str(folder)
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return
    sys.argv = arguments
    sys.path[0] = str((folder / arguments[0]).parent)
    runpy.run_path(arguments[0], run_name="__main__")


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]):
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
