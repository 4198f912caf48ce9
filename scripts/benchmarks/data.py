"""A table of a million rows, from its file to normalized splits, beside reading it with pyarrow alone."""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow
from pyarrow import csv

from benchmarks.harness import Comparison

_ROOT = Path(__file__).parents[2]
_ROWS, _COLUMNS = 1_000_000, 30
_PEER = "pyarrow, reading alone"
_OURS = "from tricks.data import load; work = lambda path: load(path, target='y')"
_THEIRS = "from pyarrow import csv; work = lambda path: csv.read_csv(path)"
# Peak of this process alone: that of `resource` counts the one that started it too.
_MEASURE = """
import sys, time
def kilobytes(name):
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(name))
before, start = kilobytes('VmRSS'), time.perf_counter()
kept = work(sys.argv[1])
print(time.perf_counter() - start, (kilobytes('VmHWM') - before) / 1024)
"""


def compare(rounds: int) -> list[Comparison]:
    """Measures seconds and the growth of memory, each in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "table.csv")
        _write(path)
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(_measured(_THEIRS, path))
            ours.append(_measured(_OURS, path))
    case = f"CSV of {_ROWS:,} rows and {_COLUMNS} columns"
    rows = []
    for i, (what, unit) in enumerate((("time", "s"), ("peak memory", "MB"))):
        mine, other = (median(values[i] for values in measured) for measured in (ours, theirs))
        rows.append(Comparison(f"{case}, {what}", _PEER, mine, other, other / mine, unit))
    return rows


def _write(path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=_ROWS) for name in (*(f"x{i}" for i in range(_COLUMNS)), "y")}
    csv.write_csv(pyarrow.table(columns), path)


def _measured(imports: str, path: Path) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", imports + _MEASURE, str(path)], cwd=_ROOT, check=True, capture_output=True, text=True
    )
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes
