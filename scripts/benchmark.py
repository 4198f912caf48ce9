"""Measures this project beside its peers, in one run: python scripts/benchmark.py NAME [--json=FILE] [--rounds=N].

Peers come from the extra `bench` (make benchmark ARGS=train); one that is not installed is skipped with a word.
A ratio above 1 means that ours is better.
"""

import json
import os
import sys
from pathlib import Path

# What is measured is compiled, not loaded.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from absl import flags
from tabulate import tabulate

from benchmarks import curvature, data, escape, halving, ordinary, scale, start, storage, sweep, train, transforms
from benchmarks.diagnosis import run as diagnosis
from tricks.cli.command import run
from tricks.errors import UserError

_JSON = flags.DEFINE_string("json", None, "Append one JSON line a comparison to this file.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds in which all are measured one after another.", lower_bound=1)
_BENCHMARKS = {
    "train": train.compare,
    "start": start.compare,
    "transforms": transforms.compare,
    "curvature": curvature.compare,
    "escape": escape.compare,
    "ordinary": ordinary.compare,
    "data": data.compare,
    "storage": storage.compare,
    "sweep": sweep.compare,
    "scale": scale.compare,
    "halving": halving.compare,
    "diagnosis": diagnosis.compare,
}


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in _BENCHMARKS:
        raise UserError(f"give one benchmark: {', '.join(_BENCHMARKS)}")
    comparisons = _BENCHMARKS[arguments[0]](_ROUNDS.value)
    lines = [{"benchmark": arguments[0], **comparison._asdict()} for comparison in comparisons]
    if _JSON.value:
        with open(_JSON.value, "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    print(tabulate([c._asdict() for c in comparisons], headers="keys", floatfmt=".3g"))


if __name__ == "__main__":
    run(main)
