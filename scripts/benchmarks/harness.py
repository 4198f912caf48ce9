"""Side by side: every case once in every round, medians over the rounds."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple


class Comparison(NamedTuple):
    """One line of a benchmark; a ratio above 1 means that ours is better."""

    case: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    unit: str


def seconds(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each case; all take turns, so that a slow spell of the machine hits all alike.

    Args:
        cases: functions that return when their work is done.
        rounds: how often each is measured, after one call to warm up.

    Returns:
        Seconds by name.
    """
    for run in cases.values():
        run()
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            # What ran before may still spin on its threads for a while (OpenMP does), at the cost of this one.
            time.sleep(0.05)
            start = time.perf_counter()
            run()
            measured[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in measured.items()}
