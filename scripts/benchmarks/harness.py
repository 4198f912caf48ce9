"""Side by side: every case once in every round, medians over the rounds."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import jax
import numpy as np

from tricks.config import Config
from tricks.data import Dataset, Split
from tricks.training import computation, configured, feed


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


def ours(config: Config, split: Split, classes: int) -> Callable[[], object]:
    """The first chunk of an epoch, over and over, as `train.py` runs it.

    Args:
        config: of the run.
        split: the examples.
        classes: of the targets.

    Returns:
        A function that waits for its result.
    """
    few = Split(split.features[:64], split.targets[:64])
    scale = np.ones(split.features.shape[1:], np.float32)
    data = Dataset("made up", classes, split, few, few, 0 * scale, scale)
    mesh = feed.make_mesh()
    plan = configured.plan_epoch(config, data, mesh)
    static, hyper = configured.assemble(config, data, mesh, plan.steps_per_epoch * config.train.epochs)
    computed = computation.prepare(static, hyper, data, plan, on_device=True, seed=config.seed)
    loop = computed.start()
    chunk = next(computed.chunks(0, plan.steps_per_epoch))

    def run() -> object:
        nonlocal loop
        loop, metrics, _ = computed.parts.run_chunk(loop, chunk)
        return jax.block_until_ready((loop, metrics))

    return run
