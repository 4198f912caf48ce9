"""What `training-doctor` and `sk-autod` say of runs: their own Python reads paths of metrics.jsonl, one a line.

Needs nothing of this project, so that it runs where they are installed. Prints a JSON line for each run: findings of
each peer in the order in which they are shown, or an error.
"""

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

_SEVERITY = {"critical": 0, "warning": 1, "info": 2}


def training_doctor(lines: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    """Its findings, each once, the gravest first."""
    from training_doctor import Doctor

    doctor = Doctor()
    for line in lines:
        if line["split"] == "train":
            doctor.log(
                line["step"],
                loss=_number(line["loss"]),
                grad_norm=_number(line["gradient_norm"]),
                lr=line["learning_rate"],
            )
        elif line["split"] == "validation" and line["step"]:
            # Its detectors read `eval_loss`; its documents say `val_loss`.
            doctor.log(line["step"], val_loss=_number(line["loss"]), eval_loss=_number(line["loss"]))
    best: dict[str, Any] = {}
    for found in doctor.diagnoses:
        known = best.get(found.problem)
        if known is None or _rank(found) < _rank(known):
            best[found.problem] = found
    return [(found.problem, found.confidence) for found in sorted(best.values(), key=_rank)]


def _rank(found: Any) -> tuple[int, float]:
    return _SEVERITY[found.severity.value], -found.confidence


def sk_autod(lines: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    """Its findings of the curves over epochs."""
    from sk_autod import diagnose

    train: dict[int, list[float]] = {}
    validation: dict[int, float] = {}
    for line in lines:
        if line["split"] == "train":
            train.setdefault(line["epoch"], []).append(_number(line["loss"]))
        elif line["split"] == "validation" and line["step"]:
            validation[line["epoch"]] = _number(line["loss"])
    epochs = sorted(set(train) & set(validation))
    means = [sum(train[epoch]) / len(train[epoch]) for epoch in epochs]
    found = diagnose(means, [validation[epoch] for epoch in epochs]).findings
    return [(finding.detector_name, finding.confidence) for finding in found]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


PEERS = {"training-doctor": training_doctor, "sk-autod": sk_autod}


def main() -> None:
    """As the module says."""
    for path in sys.stdin.read().splitlines():
        with open(path) as file:
            lines = [json.loads(line) for line in file]
        said: dict[str, Any] = {}
        for name, peer in PEERS.items():
            try:
                said[name] = {"findings": peer(lines), "error": None}
            except ImportError as error:
                said[name] = {"findings": None, "error": str(error)}
            except Exception as error:
                said[name] = {"findings": [], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
