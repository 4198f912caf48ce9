"""What measurements say: findings with confidence, prescriptions, and the way through the tree."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tricks.cli.json_files import without_nan
from tricks.diagnosis import confidence, findings, prescriptions, tree
from tricks.diagnosis.facts import Facts, derive
from tricks.diagnosis.findings import LECTURE, Finding
from tricks.diagnosis.prescriptions import Prescription

VERSION = 1
"""Of what the measurements are laid out as."""


_UNDECIDED = ("why ", "how much was learned")


def without_reasons(missing: Sequence[str]) -> list[str]:
    """What an earlier report could not judge, without why it had no verdict.

    >>> without_reasons(["how much was learned: not known", "layers: not measured"])
    ['layers: not measured']
    """
    return [sentence for sentence in missing if not sentence.startswith(_UNDECIDED)]


def of_measurements(
    measured: Mapping[str, Any], missing: Sequence[str] = (), fields: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What measurements say, whoever made them.

    Args:
        measured: by topic.
        missing: what could not be judged, in sentences.
        fields: of the config of the run; None for foreign code, which is told what to do in words.

    Returns:
        The content of `report.json`: `findings`, the strongest first, `path`, `measurements`, `not_judged`.
    """
    measured = without_nan(measured)
    found = findings.rank(measured)
    facts = derive(measured)
    complete = bool(facts.changes)
    told: list[dict[str, Any]] = []
    for one in found:
        enough = one.strength >= findings.ENOUGH
        known = [p["overrides"] for other in told for p in other["prescription"] if p["overrides"]]
        # What does not suffice for a finding is no ground for advice, and what was advised before is known.
        advice = prescriptions.prescribe(one.name, measured, fields or {}) if enough else []
        told.append(
            {
                "name": one.name,
                "confidence": confidence.of(one, first=enough and not told, complete=complete),
                "evidence": [sentence[:1].upper() + sentence[1:] for sentence in one.evidence],
                "lecture": LECTURE[one.name],
                "prescription": [plain for p in advice if (plain := _plain(p))["overrides"] not in known],
            }
        )
    return {
        "version": VERSION,
        "run": dict(measured.get("run") or {}),
        "findings": told,
        "path": tree.path(measured, found),
        "measurements": {topic: value for topic, value in measured.items() if topic != "run"},
        "not_judged": [*missing, *_undecided(facts, found)],
    }


def _undecided(facts: Facts, found: Sequence[Finding]) -> Iterator[str]:
    """Why there is no verdict, where none suffices."""
    if found and found[0].strength >= findings.ENOUGH:
        return
    if facts.train is None:
        yield "how much was learned: the loss of a constant answer is not known"
    elif facts.changes:
        lowest = min((change.validation for change in facts.changes.values()), default=0.0) / (facts.chance or 1.0)
        yield (
            f"why little is learned: training leaves {facts.train:.1%} of the loss of a constant answer, and of "
            f"{len(facts.changes)} comparison runs the lowest validation loss is {lowest:.1%} of it; do the features "
            "say anything of the targets, and do both have a fitting scale?"
        )
    else:
        yield f"why training leaves {facts.train:.1%} of the loss of a constant answer: nothing was compared"


def _plain(one: Prescription) -> dict[str, Any]:
    overrides = {f: list(v) if isinstance(v, tuple) else v for f, v in one.overrides.items()}
    return {"sentence": one.sentence, "overrides": overrides, "promises": one.promises, "tried": None}
