"""Works on cases one after another: python worker.py WORKDIR STAGE CASE… (a process of its own for each core)."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "true")
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]

from benchmarks.diagnosis import corpus, training
from tricks.cli import compilation_cache


def main(workdir: str, stage: str, *names: str) -> None:
    compilation_cache.enable()
    every = {case.name: case for case in corpus.cases()}
    for name in names:
        try:
            outcome = training.train(every[name], Path(workdir))
        except Exception as error:
            print(f"{name}: {error}", flush=True)
            continue
        short = {k: {m: round(v, 4) for m, v in d.items()} for k, d in outcome.get("last", {}).items()}
        best = outcome.get("best", {}).get("test", {})
        print(name, outcome["status"], f"{outcome['seconds']:.1f}s", short, "BEST", best, "CONST", outcome.get("constant"), outcome.get("message", outcome.get("reason", "")), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
