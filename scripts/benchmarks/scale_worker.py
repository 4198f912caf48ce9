"""One process of a job that times steps: scale_worker.py COORDINATOR PROCESSES PROCESS ROUNDS; the first one prints."""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np

from benchmarks.harness import ours, seconds
from benchmarks.scale_points import BATCHES, CLASSES, EXAMPLES, INPUTS, STEPS, WIDTHS
from tricks.cli import job, joining
from tricks.config import Config
from tricks.data import Split


def main(coordinator: str, processes: int, process: int, rounds: int) -> None:
    if processes > 1:
        joining.join(coordinator, processes, process)
    generator = np.random.default_rng(0)
    split = Split(
        generator.normal(size=(EXAMPLES, INPUTS)).astype(np.float32),
        generator.integers(CLASSES, size=EXAMPLES).astype(np.int32),
    )
    cases = {}
    for width in WIDTHS:
        for batch in BATCHES:
            config = Config()
            config.data.batch_size, config.train.chunk_steps = batch, STEPS
            config.model.hidden_sizes, config.model.batch_norm = (width, width), False
            cases[f"{width},{batch}"] = ours(config, split, CLASSES)
    found = seconds(cases, rounds)
    if job.is_first():
        print(json.dumps({name: spent / STEPS for name, spent in found.items()}))
    job.leave()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
