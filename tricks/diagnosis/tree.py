"""The lectures' tree of decisions, with the way that a run takes through it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tricks.diagnosis.facts import Facts, derive
from tricks.diagnosis.findings import Finding, of_comparisons

_DATA = ("leakage", "label_noise", "class_imbalance")
_OPTIMIZATION = (
    *("rate_too_large", "rate_too_small", "undertrained", "batch_too_large", "unscaled_features", "saturated_loss"),
    *("bad_initialization", "vanishing_gradients", "exploding_gradients", "dead_units", "saturated_units"),
    "unlucky_start",
)
_POINTS = ("saddle", "degenerate_plateau", "minimum", "stuck_not_critical")
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
    steps = [_step("Are all values finite?", "non_finite" not in names, _because(names, ("non_finite",), "all are"))]
    if "non_finite" in names:
        return steps
    steps.append(
        _step(
            "Are the examples in order?",
            not any(name in names for name in _DATA),
            _because(names, _DATA, "no leakage, label noise or rare classes were found"),
        )
    )
    large, because = _training_loss(facts)
    steps.append(_step("Is the training loss large?", large, because))
    if large is None:
        return steps
    if not large:
        gap = any(name in names for name in ("overfitting", "mismatch"))
        steps.append(_step("Is the loss large on examples that were not trained on?", gap, _gap(facts)))
        if gap:
            steps.append(
                _step(
                    "Do those come from another distribution?",
                    "mismatch" in names,
                    _because(names, ("mismatch",), "no probe tells them from the training examples"),
                )
            )
        return steps
    simple = ("model_bias", "over_regularized")
    steps.append(
        _step(
            "Does a more flexible model, and only that, do better?",
            any(name in names for name in simple),
            _because(names, simple, "no, or changes of the optimization do as well"),
        )
    )
    if any(name in names for name in simple):
        return steps
    steps.append(
        _step(
            "Does the same model do better when it is trained otherwise?",
            any(name in names for name in _OPTIMIZATION),
            _because(names, _OPTIMIZATION, "no rate, start or length of training that was tried does"),
        )
    )
    point = next((name for name in names if name in _POINTS), None)
    words = (measured.get("curvature") or {}).get("reason") or "the curvature was not measured"
    steps.append(
        {
            "question": "At what kind of point does it stand?",
            "answer": (point or "not decided").replace("_", " "),
            "because": _because(names, _POINTS, words),
        }
    )
    return steps


def _training_loss(facts: Facts) -> tuple[bool | None, str]:
    if facts.train is None:
        return None, "it was not measured"
    most = of_comparisons.most(facts)
    told = f"{facts.train:.1%} of that of the best constant answer"
    if most >= of_comparisons.LEAST:
        return True, f"{told}, and a comparison run learns {most:.1%} more of what there is to learn"
    if facts.changes:
        lowest = min(change.train for change in facts.changes.values())
        return facts.train > _LARGE, f"{told}; the lowest of the comparison runs is {lowest:.3g}"
    return facts.train > _LARGE, told


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
