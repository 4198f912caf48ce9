"""From measurements to findings: each rests on numbers, the strongest first."""

from collections.abc import Mapping
from typing import Any

from tricks.diagnosis.facts import Facts, derive
from tricks.diagnosis.findings import of_comparisons, of_data, of_layers, of_points, of_training
from tricks.diagnosis.findings.finding import LECTURE, Finding

__all__ = ["LECTURE", "Finding", "rank"]

ENOUGH = 0.5
_LEARNED, _LEARNED_AT_LEAST = 0.6, 0.95
"""Of the loss of a constant answer, what a training that went well leaves at most: by itself, and where comparison runs
found nothing better."""
_AT_ONCE = 0.1
_CONSEQUENCE = 0.6
"""Of the strength of a cause, what a consequence of it keeps."""
_NAMED = 0.3
"""Weaker ones are not told."""


def rank(measured: Mapping[str, Any]) -> list[Finding]:
    """All findings, the strongest first; `healthy` before those that do not suffice, where training went well.

    Args:
        measured: by topic, as in `report.json`.

    Returns:
        Findings; none, or none that suffices, where there is not enough evidence.
    """
    facts = derive(measured)
    strongest: dict[str, Finding] = {}
    for module in (of_training, of_data, of_comparisons, of_layers, of_points):
        for finding in module.find(facts):
            known = strongest.get(finding.name)
            if known is None or finding.strength > known.strength:
                strongest[finding.name] = finding
    rates = [strongest[name] for name in ("rate_too_small", "rate_too_large") if name in strongest]
    if len(rates) == 2:
        # It cannot be both.
        del strongest[min(rates, key=lambda finding: finding.strength).name]
    found = _without_consequences(strongest)
    ranked = sorted(found.values(), key=lambda finding: -finding.strength)
    ranked = [finding for finding in ranked if finding.strength >= _NAMED]
    if (not ranked or ranked[0].strength < ENOUGH) and _went_well(facts):
        doubt = ranked[0].strength if ranked else 0.0
        ranked.insert(0, Finding("healthy", 1 - doubt, _well(facts)))
    return ranked


_EXPLAINS = {
    "non_finite": ("rate_too_large", "exploding_gradients", "bad_initialization", "undertrained"),
    "leakage": ("mismatch",),
    "label_noise": ("overfitting", "over_regularized"),
    "mismatch": ("overfitting",),
    "unscaled_features": (
        *("rate_too_small", "rate_too_large", "undertrained", "minimum", "bad_initialization", "overfitting"),
        *("dead_units", "saturated_units", "exploding_gradients", "vanishing_gradients", "stuck_not_critical"),
    ),
    "rate_too_large": ("overfitting", "stuck_not_critical"),
    "bad_initialization": ("overfitting",),
    "dead_units": ("degenerate_plateau", "minimum"),
    "saddle": ("bad_initialization", "degenerate_plateau"),
    "rate_too_small": ("stuck_not_critical",),
    "vanishing_gradients": ("degenerate_plateau", "minimum", "bad_initialization"),
    "exploding_gradients": ("bad_initialization",),
    "saturated_units": ("bad_initialization",),
    "model_bias": ("minimum",),
    "over_regularized": ("minimum",),
}
"""What is a consequence of what; it is named after it."""
_CLEAR = 0.7
_OF_TRAINING = {
    *("rate_too_small", "rate_too_large", "undertrained", "overfitting", "model_bias", "minimum", "unlucky_start"),
    *("stuck_not_critical", "batch_too_large", "over_regularized"),
}
"""What follows from a start that was bad."""
_MECHANISMS = (
    *("dead_units", "saturated_units", "exploding_gradients", "vanishing_gradients", "bad_initialization"),
    *("saddle", "degenerate_plateau"),
)


def _without_consequences(found: dict[str, Finding]) -> dict[str, Finding]:
    weaker = dict(found)
    for cause, consequences in _EXPLAINS.items():
        if cause in found and found[cause].strength >= ENOUGH:
            for name in consequences:
                if name in weaker:
                    limit = found[cause].strength * _CONSEQUENCE
                    weaker[name] = weaker[name]._replace(strength=min(weaker[name].strength, limit))
    at_the_start = max((one.strength for one in weaker.values() if one.before_training), default=0.0)
    if at_the_start >= _CLEAR:
        for name in _OF_TRAINING & set(weaker):
            weaker[name] = weaker[name]._replace(strength=weaker[name].strength * _CONSEQUENCE)
    flexible = weaker.get("model_bias")
    if flexible and any(weaker[name].strength >= flexible.strength for name in _MECHANISMS if name in weaker):
        # Another network does better since what was measured in this one is not so there.
        weaker["model_bias"] = flexible._replace(strength=flexible.strength * _CONSEQUENCE)
    return weaker


def _went_well(facts: Facts) -> bool:
    """Whether something was learned, or nothing that was tried learns more. Where neither is known, nothing is said."""
    if facts.train is None or facts.validation is None:
        return False
    most = _LEARNED_AT_LEAST if facts.changes else _LEARNED
    curves = facts.of("curves")
    if curves and curves.get("recent") is None and not facts.changes:
        most = _AT_ONCE  # Too few epochs to say that it has come to an end.
    return facts.train < most and facts.validation < max(most, 1.0)


def _well(facts: Facts) -> tuple[str, ...]:
    told = []
    if facts.train is not None and facts.validation is not None:
        told.append(
            f"of the loss of a constant answer, training leaves {facts.train:.1%} and validation {facts.validation:.1%}"
        )
    if facts.changes:
        count, least = len(facts.changes), of_comparisons.LEAST
        told.append(f"none of {count} comparison runs learns {least:.0%} more of what there is to learn")
        told += of_comparisons.small_gain(facts)
    return tuple(told) or ("nothing that was measured is out of the ordinary",)
