"""Steps on several devices and processes against a cost model, fitted on one half of them; and start-up."""

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

from benchmarks import scale_model
from benchmarks.harness import Comparison
from benchmarks.scale_model import Cluster, Work
from benchmarks.scale_points import BATCHES, LAYOUTS, WIDTHS, Layout, Point

_ROOT = Path(__file__).parents[2]
_WORKER = Path(__file__).with_name("scale_worker.py")
_WORKS = {
    "784-512-512-10, batch 128 a device, batch normalization": (Work(670_000, 128, 3, True), False),
    "8192 x 8, batch 4096 a device": (Work(470e6, 4096, 9), False),
    "8192 x 8, batch 65536 in all": (Work(470e6, 65536, 9), True),
}


def compare(rounds: int) -> list[Comparison]:
    """Times every point in turns, fits the model on every other point, and predicts the rest."""
    measured: dict[Point, list[float]] = {}
    for _ in range(rounds):
        for layout in LAYOUTS:
            for name, spent in _times(layout, 7).items():
                width, batch = map(int, name.split(","))
                measured.setdefault(Point(layout, width, batch), []).append(spent)
    points = {point: median(values) for point, values in measured.items()}
    fitted = [p for p in points if (WIDTHS.index(p.width) + BATCHES.index(p.batch)) % 2 == 0]
    costs = scale_model.fit({point: points[point] for point in fitted})
    for term, cost in zip(scale_model.TERMS, costs, strict=True):
        print(f"{term}: {cost:.3g}")
    foreseen = {point: scale_model.predicted(point, costs) for point in points if point not in fitted}
    errors = [abs(value / points[point] - 1) for point, value in foreseen.items()]
    within = np.mean(np.array(errors) <= 0.15)
    print(f"predicted within {median(errors):.1%} (median), {max(errors):.1%} (all); {within:.0%} of them within 15 %")
    print(json.dumps([[*point.layout, point.width, point.batch, seconds] for point, seconds in points.items()]))
    rows = [
        Comparison(_name(point), "the cost model", points[point], value, value / points[point], "s")
        for point, value in foreseen.items()
    ]
    _print_cluster()
    return [*rows, *_starts(min(rounds, 5))]


def _print_cluster() -> None:
    """The same model with the data sheet of accelerators; by weak scaling, or by strong."""
    for name, (work, strong) in _WORKS.items():
        print(name)
        one = scale_model.on_cluster(work, 1, Cluster())
        for devices in (1, 8, 64, 256):
            here = work if strong else work._replace(batch=work.batch * devices)
            parts = scale_model.on_cluster(here, devices, Cluster())
            efficiency = one.total / parts.total / (devices if strong else 1)
            each = ", ".join(f"{field} {1e3 * value:.3g}" for field, value in parts._asdict().items())
            print(f"  {devices}: {1e3 * parts.total:.3g} ms ({each}), efficiency {efficiency:.0%}")


def _name(point: Point) -> str:
    layout = f"{point.layout.processes} x {point.layout.devices} devices"
    return f"{layout}, 784-{point.width}-{point.width}-10, batch {point.batch}"


def _times(layout: Layout, rounds: int) -> dict[str, float]:
    address = _address()
    commands = [
        [sys.executable, str(_WORKER), address, str(layout.processes), str(process), str(rounds)]
        for process in range(layout.processes)
    ]
    return dict(json.loads(_run(commands, layout)))


def _starts(rounds: int) -> list[Comparison]:
    """From shell to shell, of runs of one step: four processes of a job, four runs at once, and one run."""
    spent: dict[str, list[float]] = {"a job": [], "runs": [], "one run": []}
    for _ in range(rounds + 1):
        for name, values in spent.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                _run(_commands(name, folder), Layout(1, 1), cached=True)
                values.append(time.perf_counter() - began)
    # The first of each fills the cache of programs.
    job, runs, one = (median(values[1:]) for values in spent.values())
    return [
        Comparison("start-up, a job of four processes", "four runs at once", job, runs, runs / job, "s"),
        Comparison("start-up, a job of four processes", "one run", job, one, one / job, "s"),
    ]


def _commands(what: str, folder: str) -> list[list[str]]:
    address, count = _address(), 1 if what == "one run" else 4
    command = [sys.executable, "train.py", "--config=configs/digits.py", "--config.train.epochs=1"]
    command.append("--config.data.batch_size=1024")
    if what == "a job":
        command += [f"--workdir={folder}/run", f"--coordinator={address}", f"--processes={count}"]
        return [[*command, f"--process={process}"] for process in range(count)]
    return [[*command, f"--workdir={folder}/run{run}"] for run in range(count)]


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
