"""Findings on the whole course: values that are not finite, and a training that fits its examples alone."""

from collections.abc import Iterator

from tricks.diagnosis.facts import Facts
from tricks.diagnosis.findings.finding import Finding, graded

_LEARNED = 0.8
"""Of the loss of a constant answer, from where on a training loss is too large to speak of overfitting."""
_TURNED = 1.05
"""Of its best, what the validation loss has to be for its course to have turned."""


def find(facts: Facts) -> Iterator[Finding]:
    """The findings on the course of a training.

    Args:
        facts: of the run.

    Yields:
        Findings, also weak ones.
    """
    yield from _non_finite(facts)
    yield from _overfitting(facts)
    if not facts.changes:
        yield from _by_the_run_alone(facts)


def _non_finite(facts: Facts) -> Iterator[Finding]:
    origin = facts.of("origin")
    if facts.of("run").get("status") == "diverged" or origin:
        told = [sentence for sentence in (facts.of("run").get("message"), origin.get("sentence")) if sentence]
        yield Finding("non_finite", 1.0, tuple(told) or ("the run ended with a value that is not finite",))


def _overfitting(facts: Facts) -> Iterator[Finding]:
    if facts.train is None or facts.validation is None:
        return
    # Both, where there are two: a small part may be unlike the others by chance.
    parts = [("validation", facts.validation)] + ([("test", facts.test)] if facts.test is not None else [])
    part, held_out = min(parts, key=lambda pair: pair[1])
    gap = held_out - facts.train
    rise = facts.of("curves").get("validation_rise") or 1.0
    least = max(0.15, 1.5 * facts.uncertainty(part))
    # A training loss near that of a constant answer is what has to be explained first.
    small = 1 - graded(facts.train, _LEARNED, 1.0)
    strength = min(graded(gap, least, 2.5 * least), 2 * small)
    told = [
        f"of the loss of a constant answer, training leaves {facts.train:.1%} and validation {facts.validation:.1%}",
    ]
    if rise > _TURNED:
        best = facts.of("curves").get("best_epoch")
        told.append(f"the validation loss was lowest in epoch {best}, and is {rise:.2f} times that now")
    yield Finding("overfitting", strength, tuple(told))


def _by_the_run_alone(facts: Facts) -> Iterator[Finding]:
    """What curves and curvature let one suspect where nothing was compared."""
    recent, train = facts.of("curves").get("recent"), facts.train
    if train is None:
        return
    large = graded(train, 0.15, 0.6)
    turned = (facts.of("curves").get("validation_rise") or 1.0) > _TURNED
    if recent is not None and not turned and facts.of("run").get("status") != "stopped early":
        told = f"the training loss fell by {recent:.0%} between the middle of the run and its end"
        yield Finding("undertrained", 0.8 * min(large, graded(recent, 0.12, 0.4)), (told,))
    point = facts.of("curvature")
    # At the end of a schedule the last rate is near 0, whatever the others were.
    stability, limit = point.get("peak_stability") or point.get("stability"), point.get("stability_limit")
    if stability and limit:
        told = f"learning rate times largest curvature is {stability:.3g}; from {limit:.3g} on the loss jumps"
        yield Finding("rate_too_small", 0.8 * min(large, graded(limit / stability, 1e4, 1e5)), (told,))
    oscillation, noise = (facts.of("curves").get(name) for name in ("oscillation", "noise"))
    # The way grows with the number of epochs: what shakes, shakes also from one to the next.
    if oscillation is not None and (facts.of("curves").get("rising") or 0) > 0.3:
        told = f"over the second half the training loss moved {oscillation:.1f} times the way between its ends"
        yield Finding(
            "rate_too_large", 0.8 * min(large, graded(oscillation, 5.0, 12.0), graded(noise, 0.05, 0.15)), (told,)
        )
