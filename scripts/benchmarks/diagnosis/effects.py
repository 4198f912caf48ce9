"""Whether a plant takes effect and a healthy run is good: rules that know no diagnosis.

Of a loss, `constant` is that of the best outputs that are the same for every example. What a healthy run gains is the
constant minus its training loss; a fault takes effect where it costs a tenth of that, on the part that its kind is
about. Where it has another loss than its twin, accuracies are compared, or shares of the constant.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.diagnosis.case import HEALTHY, Case
from benchmarks.diagnosis.programs import PROGRAMS

SHARE, POINTS = 0.1, 0.05
BY_CONSTRUCTION = frozenset({"mismatch", "label_noise", "leakage"})
_GOOD = {program.name: (program.measure, program.good) for program in PROGRAMS}

Outcome = Mapping[str, Any]


class Effect(NamedTuple):
    """Whether a case counts, and by which numbers."""

    counts: bool
    why: str


def judge(case: Case, outcome: Outcome, twin: Outcome) -> Effect:
    """Applies the rule of a case's kind.

    Args:
        case: of the corpus.
        outcome: of its training.
        twin: of the healthy run of its program.

    Returns:
        Whether it counts.
    """
    if outcome["status"] == "skipped":
        return Effect(False, outcome["reason"])
    if case.truth == "non_finite" or outcome["status"] == "diverged":
        return Effect(case.truth == "non_finite" and outcome["status"] == "diverged", f"it {outcome['status']}")
    if case.truth == HEALTHY:
        measure, level = _GOOD[case.program]
        value = outcome["best"]["test"][measure]
        good = value >= level if measure == "accuracy" else value <= level
        return Effect(good, f"test {measure} {value:.3f}, good from {level}")
    if case.truth in BY_CONSTRUCTION:
        return Effect(True, "by construction")
    if case.truth == "class_imbalance":
        return _lower("test", "balanced_accuracy", outcome, twin, 2 * POINTS)
    if case.truth == "overfitting":
        return _overfits(outcome, twin)
    return _trains_worse(case, outcome, twin)


def _trains_worse(case: Case, outcome: Outcome, twin: Outcome) -> Effect:
    if "loss.name" in case.fault or "data.name" in case.fault:
        if "accuracy" in outcome["last"]["train"]:
            return _lower("train", "accuracy", outcome, twin, POINTS)
        ours, theirs = (found["last"]["train"]["loss"] / found["constant"] for found in (outcome, twin))
        return Effect(
            ours >= theirs + SHARE * (1 - theirs), f"training loss {ours:.3f} of the constant, twin {theirs:.3f}"
        )
    return _higher("train", outcome, twin)


def _overfits(outcome: Outcome, twin: Outcome) -> Effect:
    found = _higher("validation", outcome, twin)
    gap = outcome["last"]["validation"]["loss"] - outcome["last"]["train"]["loss"]
    return Effect(found.counts and gap >= SHARE * _gained(twin), f"{found.why}; gap to training {gap:.3f}")


def _higher(part: str, outcome: Outcome, twin: Outcome) -> Effect:
    ours, theirs = outcome["last"][part]["loss"], twin["last"][part]["loss"]
    return Effect(ours >= theirs + SHARE * _gained(twin), f"{part} loss {ours:.3f}, twin {theirs:.3f}")


def _gained(twin: Outcome) -> float:
    return twin["constant"] - twin["last"]["train"]["loss"]


def _lower(part: str, measure: str, outcome: Outcome, twin: Outcome, by: float) -> Effect:
    ours, theirs = outcome["last"][part][measure], twin["last"][part][measure]
    return Effect(ours <= theirs - by, f"{part} {measure.replace('_', ' ')} {ours:.3f}, twin {theirs:.3f}")
