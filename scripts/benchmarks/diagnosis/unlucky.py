"""Which seed of a small network is an unlucky one: python unlucky.py, which trains seeds 0 to 15 of each such case."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]

from benchmarks.diagnosis import corpus, training
from benchmarks.diagnosis.case import Case
from tricks.training.sweeps.run import sweep

SEEDS, FAR = 16, 0.25


def first_unlucky(case: Case, constant: float) -> tuple[int | None, list[float]]:
    """The seed that the rule of the corpus picks.

    Args:
        case: of the corpus; its own seed is left aside.
        constant: the loss of the best constant outputs.

    Returns:
        The first of the seeds 0 to 15 whose training loss in the last epoch is above the median by a quarter of what
        the median gained over `constant`, or None; and the losses of all.
    """
    config = training.config_of(case)
    config.seed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sweep"
        sweep(
            config,
            [{"optimizer.learning_rate": config.optimizer.learning_rate}],
            seeds=SEEDS,
            workdir=folder,
            folders=(training.OWN,),
        )
        rows = pyarrow.parquet.read_table(folder / "curves.parquet").to_pylist()
    losses = [_last(rows, lane) for lane in range(SEEDS)]
    median = float(np.median(losses))
    far = [seed for seed, loss in enumerate(losses) if loss > median + FAR * (constant - median)]
    return (far[0] if far else None), losses


def _last(rows: list[dict], lane: int) -> float:
    return next(row["loss"] for row in reversed(rows) if row["lane"] == lane and row["split"] == "train")


if __name__ == "__main__":
    for case in corpus.cases():
        if case.truth == "unlucky_start":
            seed, losses = first_unlucky(case, float(np.log(2)))
            print(case.name, "has seed", case.seed, "and by the rule", seed, np.round(losses, 3).tolist())
