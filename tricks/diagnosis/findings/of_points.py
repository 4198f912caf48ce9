"""Findings on where training stands: a saddle, a plateau without derivatives, a minimum, or no critical point."""

from collections.abc import Iterator

from tricks.diagnosis.facts import Facts
from tricks.diagnosis.findings.finding import Finding, graded


def find(facts: Facts) -> Iterator[Finding]:
    """The findings on a training loss that is large and stands still.

    Args:
        facts: of the run.

    Yields:
        Findings, also weak ones.
    """
    point, train = facts.of("curvature"), facts.train
    if not point or train is None or point.get("loss") is None:
        return
    large = graded(train, 0.15, 0.6)
    still = _stands_still(facts)
    loss = max(point["loss"], 1e-12)
    by_escape = (point.get("escape_gain") or 0.0) / loss
    by_gradient = (point.get("descent_gain") or 0.0) / loss
    ends = f"eigenvalues from {_number(point.get('smallest'))} to {_number(point.get('largest'))}"
    if by_escape > 1.5 * by_gradient:
        told = (
            f"along the eigenvector of the smallest eigenvalue the loss falls by {by_escape:.1%}, "
            f"and against the gradient by {by_gradient:.1%} ({ends})"
        )
        yield Finding("saddle", min(graded(by_escape, 0.01, 0.05), large) * still, (told,))
    verdict = point.get("verdict")
    if verdict == "saddle":
        yield Finding("saddle", large * still, (f"the Hessian: {point.get('reason')}",))
    if verdict == "degenerate":
        strength = min(large, graded(train, 0.3, 0.9)) * still
        yield Finding("degenerate_plateau", strength, (f"the Hessian: {point.get('reason')}",))
    low, high = point.get("smallest"), point.get("largest")
    nothing = by_escape < 0.005 and by_gradient < 0.005
    if low is not None and high is not None and nothing and verdict != "degenerate" and low >= -0.01 * abs(high):
        told = f"neither the gradient nor negative curvature lowers the loss by 0.5 % ({ends})"
        yield Finding("minimum", large * still * 0.9, (told,))
    if by_gradient >= 0.01 and by_escape <= 1.5 * by_gradient and still > 0.8:
        told = f"the loss stands still, and one step against the gradient lowers it by {by_gradient:.1%}"
        yield Finding("stuck_not_critical", min(graded(by_gradient, 0.01, 0.1), large) * still, (told,))


def _stands_still(facts: Facts) -> float:
    """From 0 for a loss that falls to 1 for one that does not."""
    recent = facts.of("curves").get("recent")
    return 1 - graded(recent, 0.08, 0.3) if recent is not None else 0.7


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
