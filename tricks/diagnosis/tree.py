"""The lectures' tree of decisions, with the way that a run takes through it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tricks.diagnosis.facts import Facts, derive
from tricks.diagnosis.findings import Finding, of_comparisons

_DATA = ("leakage", "label_noise", "class_imbalance", "unscaled_features")
_SIMPLE = ("model_bias", "over_regularized")
_CRITICAL = ("saddle", "degenerate_plateau", "minimum")
_LARGE = 0.1
"""Of the loss of a constant answer, from where on a training loss is called large though nothing does better."""


def path(measured: Mapping[str, Any], found: Sequence[Finding]) -> list[dict[str, str]]:
    """The questions that were asked, in their order, each with its answer and what it rests on.

    Args:
        measured: by topic, as in `report.json`.
        found: the findings, the strongest first.

    Returns:
        `question`, `answer` and `because` of each.
    """
    facts = derive(measured)
    names = {finding.name: finding for finding in found if finding.strength >= 0.5}
    finite = "non_finite" not in names
    steps = [_step("Do all numbers stay finite?", finite, _because(names, ("non_finite",), "all do"))]
    if not finite:
        return steps
    sound = not any(name in names for name in _DATA)
    otherwise = "no leakage, label noise, rare classes or unlike scales were found"
    steps.append(_step("Are the data sound?", sound, _because(names, _DATA, otherwise)))
    if not sound and found and found[0].name in _DATA:
        return steps
    large, because = _training_loss(facts)
    if large and found and found[0].name == "healthy":
        large, because = False, f"{because}, which is as low as any"
    steps.append(_step("Is the training loss large?", large, because))
    if large is None:
        return steps
    return steps + (_large_training_loss(measured, facts, names) if large else _small_training_loss(facts, names))


def _large_training_loss(
    measured: Mapping[str, Any], facts: Facts, names: Mapping[str, Finding]
) -> list[dict[str, str]]:
    # Several may suffice; the strongest decides.
    bias = next(iter(names), "") in _SIMPLE
    otherwise = "no, or changes of the optimization do as well" if facts.changes else "nothing was compared"
    known: bool | None = bias if facts.changes or bias else None
    told = _because(names, _SIMPLE, otherwise) if bias else otherwise
    steps = [_step("Does a model with more freedom fit better?", known, told)]
    if bias:
        return steps
    point = measured.get("curvature") or {}
    critical = any(name in names for name in _CRITICAL) if point or not facts.changes else None
    because = _because(names, _CRITICAL, point.get("reason") or "the curvature was not measured")
    return [*steps, _step("Is the gradient zero?", critical, because)]


def _small_training_loss(facts: Facts, names: Mapping[str, Finding]) -> list[dict[str, str]]:
    gap = any(name in names for name in ("overfitting", "mismatch"))
    steps = [_step("Is the test loss large?", gap, _gap(facts))]
    if gap:
        alike = "mismatch" not in names
        told = _because(names, ("mismatch",), "no probe tells them apart")
        steps.append(_step("Are training and test examples of one kind?", alike, told))
    return steps


def _training_loss(facts: Facts) -> tuple[bool | None, str]:
    if facts.train is None:
        return None, "it was not measured"
    most = of_comparisons.most(facts)
    told = f"{facts.train:.1%} of that of the best constant answer"
    if most >= of_comparisons.LEAST:
        return True, f"{told}, and a comparison run learns {most:.1%} more of what there is to learn{_alone(facts)}"
    if facts.changes:
        able = [change.train for change in facts.changes.values() if change.name not in of_comparisons.NO_REMEDY]
        lowest = f"; the lowest of the comparison runs is {min(able):.3g}" if able else ""
        return facts.train > _LARGE, f"{told}{lowest}{_alone(facts)}"
    return facts.train > _LARGE, told


def _alone(facts: Facts) -> str:
    """What became of the few examples that any set-up that can learn memorizes."""
    subset = facts.changes.get("subset")
    if subset is None or not facts.chance:
        return ""
    return f"; 64 examples alone are memorized down to {subset.train / facts.chance:.1%}"


def _gap(facts: Facts) -> str:
    parts = [
        f"{name} {value:.1%}"
        for name, value in (("training", facts.train), ("validation", facts.validation), ("test", facts.test))
        if value is not None
    ]
    return f"of the loss of a constant answer: {', '.join(parts)}"


def _because(names: Mapping[str, Finding], wanted: Sequence[str], otherwise: str) -> str:
    told = [names[name].evidence[0] for name in wanted if name in names and names[name].evidence]
    return told[0] if told else otherwise


def _step(question: str, answer: bool | None, because: str) -> dict[str, str]:
    return {"question": question, "answer": {True: "yes", False: "no", None: "not known"}[answer], "because": because}
