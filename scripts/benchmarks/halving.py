"""What successive halving costs in wrong eliminations: a sweep is trained whole, and the rule applied to its curves."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet

from benchmarks.harness import Comparison
from tricks.config import Config
from tricks.training.sweeps import halving, settings
from tricks.training.sweeps.run import sweep

_SETS = {"digits": "cross_entropy", "breast_cancer": "cross_entropy", "diabetes": "squared_error"}
_TEXTS = {"optimizer.learning_rate": "1e-4:1:log:12", "model.dropout": "0,0.2,0.5", "optimizer.l2": "0,1e-3"}
_EPOCHS, _SEEDS = 27, 8


def compare(rounds: int) -> list[Comparison]:
    """For each data set, eta and number of seeds: how often the best setting was lost, what that cost, what it saved.

    The rows say in `ours` the mean, over the draws of seeds, of the validation that halving ends with, in `theirs` that
    of the best setting; both are of seeds that were not chosen by.
    """
    found = []
    for name, loss in _SETS.items():
        values = _values(name, loss)
        for eta in (2, 3, 4):
            for seeds in (1, 2):
                found.append(_judged(values, name, eta, seeds))
    return found


def _values(name: str, loss: str) -> np.ndarray:
    """(settings, seeds, epochs): the best validation so far; infinite once a lane has diverged."""
    config = Config()
    config.data.name, config.loss.name = name, loss
    config.model.hidden_sizes, config.train.epochs = (64, 64), _EPOCHS
    grid = settings.grid(settings.parse_ranges(_TEXTS, config))
    with tempfile.TemporaryDirectory() as scratch:
        sweep(config, grid, seeds=_SEEDS, workdir=Path(scratch) / "sweep")
        table = pyarrow.parquet.read_table(Path(scratch) / "sweep" / "curves.parquet").to_pylist()
    values = np.full((len(grid), _SEEDS, _EPOCHS + 1), np.inf)
    for row in table:
        if row["split"] == "validation" and row["loss"] is not None:
            values[row["lane"] // _SEEDS, row["lane"] % _SEEDS, row["epoch"]] = row["loss"]
    return np.minimum.accumulate(values, axis=2)


def _judged(values: np.ndarray, name: str, eta: int, seeds: int) -> Comparison:
    shares = halving.rungs(len(values), _EPOCHS, eta)
    lost, ended, best, worked = [], [], [], []
    for draw in itertools.combinations(range(_SEEDS), seeds):
        chosen = list(draw)
        others = [seed for seed in range(_SEEDS) if seed not in chosen]
        alive, epochs, before = list(range(len(values))), 0, 0
        for share in shares:
            at = int(np.ceil(share * _EPOCHS - 1e-9))
            epochs += len(alive) * (at - before)
            before = at
            if share < 1:
                alive = halving.survivors({s: values[s, chosen, at].tolist() for s in alive}, eta)
        winner = halving.ranked({s: values[s, chosen, -1].tolist() for s in alive})[0]
        truth = halving.ranked({s: values[s, chosen, -1].tolist() for s in range(len(values))})[0]
        lost.append(winner != truth)
        ended.append(values[winner][others, -1].mean())
        best.append(values[truth][others, -1].mean())
        worked.append(epochs / len(values) / _EPOCHS)
    print(
        f"{name}, --halving={eta}, {seeds} seed(s): the winner of the whole sweep lost in {np.mean(lost):.0%}, "
        f"validation of other seeds {np.mean(ended):.4f} instead of {np.mean(best):.4f}, "
        f"{np.mean(worked):.0%} of the epochs"
    )
    ours, theirs = float(np.mean(ended)), float(np.mean(best))
    return Comparison(
        f"{name}, eta {eta}, {seeds} seeds", "all trained to their end", ours, theirs, theirs / ours, "loss"
    )
