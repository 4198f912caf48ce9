"""The sweep of benchmarks/sweep.py in PyTorch, one training after another: python sweep_pytorch.py plain|optuna LANES.

Prints the seconds of the trainings; what comes before, imports above all, is left out.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from start_pytorch import train

RATES, SEEDS = np.geomspace(1e-4, 1, 16), range(4)


def main(how: str, lanes: int) -> None:
    """Trains so many of the 64 lanes, spread over all of them."""
    chosen = [(float(rate), seed) for rate in RATES for seed in SEEDS][:: 64 // lanes]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        directory = Path(scratch)
        if how == "plain":
            for rate, seed in chosen:
                _loss(directory, rate, seed)
        else:
            import optuna

            optuna.logging.disable_default_handler()
            places = list(range(len(chosen)))
            study = optuna.create_study(sampler=optuna.samplers.GridSampler({"place": places}))
            study.optimize(lambda trial: _loss(directory, *chosen[trial.suggest_categorical("place", places)]))
    print(time.perf_counter() - start)


def _loss(directory: Path, rate: float, seed: int) -> float:
    # A rate that is too high leaves no best weights to load.
    try:
        return train(directory, rate, seed)[1]
    except (FileNotFoundError, RuntimeError):
        return float("inf")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
