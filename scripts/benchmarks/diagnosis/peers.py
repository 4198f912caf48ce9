"""Peers on the same runs, and what their findings are called here."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.diagnosis.case import HEALTHY

_RUNNER = Path(__file__).parent / "peer_runner.py"
NAMES = ("training-doctor", "sk-autod")


class Meaning(NamedTuple):
    """The names here that a peer's finding may stand for; it is right where one of them is."""

    names: tuple[str, ...]
    why: str


_TOO_LARGE = ("rate_too_large", "stuck_not_critical", "non_finite", "exploding_gradients")
_STANDS_STILL = (
    *("saddle", "degenerate_plateau", "minimum", "stuck_not_critical", "vanishing_gradients", "rate_too_small"),
    *("unlucky_start", "saturated_loss"),
)

MEANINGS = {
    "training-doctor": {
        "Learning rate likely too high": Meaning(
            _TOO_LARGE, "spikes and swings of loss and gradient, whatever they come from"
        ),
        "Learning rate may be too low": Meaning(
            ("rate_too_small", "undertrained", "batch_too_large"),
            "a slow, steady descent; a larger batch takes fewer steps of the rate",
        ),
        "Training plateau detected": Meaning(_STANDS_STILL, "a loss that stands still, whatever it stands at"),
        "Early training plateau": Meaning(
            (*_STANDS_STILL, "dead_units", "bad_initialization"), "one that stands still from the start"
        ),
        "Overfitting detected": Meaning(
            ("overfitting", "label_noise"), "the gap grows; memorized labels are its cause in the second"
        ),
        "Unusual train/eval pattern": Meaning(
            ("leakage", "mismatch", "over_regularized"),
            "validation below training, as by dropout; its text names leaks and a wrong evaluation",
        ),
        "Gradient instability detected": Meaning(
            ("exploding_gradients", "non_finite", "vanishing_gradients", "rate_too_large", "bad_initialization"),
            "its text names explosion, vanishing and swings",
        ),
        "Possible mixed precision instability": Meaning(
            ("non_finite", "exploding_gradients"), "losses that are not finite"
        ),
    },
    "sk-autod": {
        "Classic overfitting": Meaning(("overfitting", "label_noise"), "as above"),
        "Missed early stopping": Meaning(("overfitting",), "validation was better before"),
        "Exploding gradient": Meaning(
            ("exploding_gradients", "non_finite", "rate_too_large", "bad_initialization"), "the loss jumps"
        ),
        "LR too high": Meaning(_TOO_LARGE, "the loss swings"),
        "LR too low": Meaning(("rate_too_small", "undertrained", "batch_too_large"), "the loss falls slowly"),
        "Underfitting": Meaning(
            ("model_bias", "over_regularized", "rate_too_small", "undertrained", *_STANDS_STILL),
            "both losses stay high; it does not say why",
        ),
        "Dying ReLU proxy": Meaning(("dead_units", "saturated_units", "vanishing_gradients"), "an early plateau"),
        "Noisy training": Meaning(("rate_too_large", "stuck_not_critical"), "the loss changes its direction often"),
        "Data leakage": Meaning(("leakage",), "its name"),
        "Label noise floor": Meaning(("label_noise", "minimum", "model_bias"), "a floor under the loss"),
    },
}


def ask(python: str, runs: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """What the peers say of runs.

    Args:
        python: an interpreter that has them installed; empty for this one.
        runs: directories.

    Returns:
        For each peer that is installed, for each run: `findings`, ranked, each the peer's name, what it may stand for
        here and its confidence; and `error`, where it refused the run. No findings say that the run is healthy.
    """
    paths = "\n".join(str(run / "metrics.jsonl") for run in runs)
    done = subprocess.run(
        [python or sys.executable, str(_RUNNER)], input=paths, check=True, capture_output=True, text=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    said = {}
    for peer in NAMES:
        if any(line[peer]["findings"] is None for line in lines):
            print(f"{peer} is left out: {lines[0][peer]['error']}")
            continue
        said[peer] = [
            {"findings": _translated(peer, line[peer]["findings"]), "error": line[peer]["error"]} for line in lines
        ]
    return said


def _translated(peer: str, findings: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "names": list(MEANINGS[peer][name].names), "confidence": confidence}
        for name, confidence in findings
    ] or [{"name": HEALTHY, "names": [HEALTHY], "confidence": 1.0}]
