"""Works on cases one after another, in a process of its own: python worker.py JOB.json, as `run.py` starts it."""

import os
import sys
import time
from pathlib import Path
from typing import Any

# Many cases are of the same shapes.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]

import contextlib
import io
import traceback

from benchmarks.diagnosis import adapter, corpus, training
from tricks.cli import compilation_cache, convolutions
from tricks.cli.json_files import read_json, write_json

REPORTS, TRIED = "reports", "tried"


def main(path: str) -> None:
    """Trains and diagnoses the cases of a job; what fails is said and left to the next call."""
    compilation_cache.enable()
    convolutions.enable()
    job = read_json(Path(path))
    every = {case.name: case for case in corpus.cases()}
    for name in job["cases"]:
        try:
            outcome = training.train(every[name], Path(job["workdir"]))
            if job["diagnose"] and outcome["status"] != "skipped":
                _diagnose(name, job)
                if job["attempt"]:
                    _attempt(name, job)
            print(f"done {name}", flush=True)
        except Exception:
            print(f"failed {name}: {traceback.format_exc()}", flush=True)


def _diagnose(name: str, job: dict[str, Any]) -> None:
    workdir, ablation = Path(job["workdir"]), job["ablation"]
    kept, whole = (workdir / REPORTS / which / f"{name}.json" for which in (ablation, adapter.ABLATIONS[0]))
    if kept.exists():
        return
    start, said = time.monotonic(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        report = adapter.report(
            workdir / training.RUNS / name,
            read_json(whole) if whole.exists() else None,
            ablation,
            diagnose=job["diagnose"],
            judge=job["judge"],
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {**report, "corpus_seconds": time.monotonic() - start})


def _attempt(name: str, job: dict[str, Any]) -> None:
    workdir = Path(job["workdir"])
    kept, whole = (workdir / REPORTS / which / f"{name}.json" for which in (TRIED, adapter.ABLATIONS[0]))
    if not kept.exists():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = adapter.tried(workdir / training.RUNS / name, read_json(whole))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, found)


if __name__ == "__main__":
    main(sys.argv[1])
