"""Steps on several devices and processes against a cost model, which is fitted on one half of them."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from scipy.optimize import nnls

from benchmarks.harness import Comparison
from benchmarks.scale_points import BATCHES, LAYOUTS, WIDTHS, Layout, Point

_ROOT = Path(__file__).parents[2]
_WORKER = Path(__file__).with_name("scale_worker.py")
_TERMS = (
    "operations of a core (s each)",
    "a step (s)",
    "an update of a parameter, on every device (s)",
    "a device more in a process (s)",
    "a byte reduced in a process (s)",
    "a process more (s)",
    "a byte reduced between processes (s)",
)


def compare(rounds: int) -> list[Comparison]:
    """Times every point in turns, fits the model on every other point, and predicts the rest."""
    measured: dict[Point, list[float]] = {}
    for _ in range(min(rounds, 3)):
        for layout in LAYOUTS:
            for name, spent in _times(layout, 5).items():
                width, batch = map(int, name.split(","))
                measured.setdefault(Point(layout, width, batch), []).append(spent)
    points = {point: median(values) for point, values in measured.items()}
    fitted = [p for p in points if (WIDTHS.index(p.width) + BATCHES.index(p.batch)) % 2 == 0]
    costs = fit({point: points[point] for point in fitted})
    for term, cost in zip(_TERMS, costs, strict=True):
        print(f"{term}: {cost:.3g}")
    rest = [point for point in points if point not in fitted]
    errors = {point: abs(predicted(point, costs) / points[point] - 1) for point in rest}
    print(f"predicted within {median(errors.values()):.1%} (median), {max(errors.values()):.1%} (all)")
    foreseen = {point: predicted(point, costs) for point in rest}
    rows = [
        Comparison(_name(point), "the cost model", points[point], value, value / points[point], "s")
        for point, value in foreseen.items()
    ]
    return [*rows, *_starts(min(rounds, 3))]


def terms(point: Point, cores: int = os.cpu_count() or 1) -> np.ndarray:
    """What a step costs, as factors of the costs of `_TERMS`.

    t = 6 P B / min(n, c) a + b + P n / min(n, c) u, and beside one device (n - 1) l + 4 P 2 (n - 1) / n r, with P
    parameters, B examples, n devices, c cores; l and r are those of one process or of several.

    Args:
        point: what is computed where.
        cores: of the machine, which devices of a CPU share.

    Returns:
        (terms,).
    """
    n, p = point.layout.total, point.parameters
    at_once = min(n, cores)
    apart = (n - 1, 4 * p * 2 * (n - 1) / n)
    within, between = (apart, (0, 0)) if point.layout.processes == 1 else ((0, 0), apart)
    return np.array([6 * p * point.batch / at_once, 1, p * n / at_once, *within, *between], np.float64)


def fit(points: dict[Point, float]) -> np.ndarray:
    """Costs of which none is negative, by least squares of the relative errors.

    Args:
        points: seconds of a step.

    Returns:
        (terms,).
    """
    seconds = np.array(list(points.values()))
    rows = np.stack([terms(point) for point in points]) / seconds[:, None]
    scale = np.maximum(np.abs(rows).max(0), 1e-300)
    found: np.ndarray = nnls(rows / scale[None], np.ones(len(seconds)))[0] / scale
    return found


def predicted(point: Point, costs: np.ndarray) -> float:
    """Seconds of a step.

    Args:
        point: what is computed where.
        costs: as `fit` gives them.

    Returns:
        The sum of its terms.
    """
    return float(terms(point) @ costs)


def _name(point: Point) -> str:
    layout = f"{point.layout.processes} x {point.layout.devices} devices"
    return f"{layout}, 784-{point.width}-{point.width}-10, batch {point.batch}"


def _times(layout: Layout, rounds: int) -> dict[str, float]:
    commands = _commands([str(_WORKER)], layout, [str(rounds)])
    return dict(json.loads(_run(commands, layout)))


def _starts(rounds: int) -> list[Comparison]:
    """From shell to shell: a run of an epoch by one process with four devices, and by four processes."""
    spent: dict[Layout, list[float]] = {Layout(1, 4): [], Layout(4, 1): []}
    for _ in range(rounds + 1):
        for layout, values in spent.items():
            with tempfile.TemporaryDirectory() as folder:
                flags = [f"--workdir={folder}/run", "--config=configs/digits.py", "--config.train.epochs=1"]
                address, count = _address(), layout.processes
                of_job = [f"--coordinator={address}", f"--processes={count}"] if count > 1 else []
                commands = [
                    [sys.executable, "train.py", *flags, *of_job, *([f"--process={process}"] if of_job else [])]
                    for process in range(count)
                ]
                began = time.perf_counter()
                _run(commands, layout, cached=True)
                values.append(time.perf_counter() - began)
    # The first of each fills the cache of programs.
    one, four = (median(values[1:]) for values in spent.values())
    return [Comparison("start-up and an epoch, four processes", "one with four devices", four, one, one / four, "s")]


def _commands(script: list[str], layout: Layout, rest: list[str]) -> list[list[str]]:
    address = _address()
    return [
        [sys.executable, *script, address, str(layout.processes), str(process), *rest]
        for process in range(layout.processes)
    ]


def _address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def _run(commands: list[list[str]], layout: Layout, *, cached: bool = False) -> str:
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={layout.devices}"}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "true" if cached else "false"
    started = [
        subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True) for command in commands
    ]
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"{commands[0]} ended with {[process.returncode for process in started]}")
    return printed[0].strip().splitlines()[-1]
