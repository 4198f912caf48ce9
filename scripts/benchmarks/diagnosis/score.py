"""How often a diagnosis is right: rates with intervals, the confusion matrix, calibration."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.diagnosis.case import HEALTHY, NAMES
from tricks.diagnosis.measurements import examples


class Judged(NamedTuple):
    """A case with what was said of it."""

    case: str
    program: str
    part: str
    truth: str
    kind: str
    right: frozenset[str]
    findings: Sequence[Mapping[str, Any]]
    """Ranked; each with `name` and `confidence`, those of peers with `names` too, any of which may be right."""

    def rank(self) -> int | None:
        """Place of the first right finding, from 1; None where there is none."""
        places = (place for place, finding in enumerate(self.said(), 1) if self.right & _names(finding))
        return next(places, None)

    def said(self) -> Sequence[Mapping[str, Any]]:
        """The findings; that nothing was found says healthy."""
        return self.findings or ({"name": HEALTHY, "confidence": 1.0},)


class Rate(NamedTuple):
    """So many of so many, with Wilson's interval."""

    counted: int
    of: int
    low: float
    high: float

    def __str__(self) -> str:
        if not self.of:
            return "none"
        return f"{self.counted} of {self.of} = {self.counted / self.of:.0%} ({self.low:.0%} to {self.high:.0%})"


def wilson(count: int, of: int) -> Rate:
    """A share with its 95 % interval.

    Args:
        count: of what is counted.
        of: all.

    Returns:
        Both with the interval; from 0 to 1 of none.

    Source: Wilson 1927.

    >>> print(wilson(8, 10))
    8 of 10 = 80% (49% to 94%)
    """
    low, high = examples.wilson(count, of) or (0.0, 1.0)
    return Rate(count, of, low, high)


def rates(judged: Sequence[Judged]) -> dict[str, Rate]:
    """Of faults: first finding right, a right one among the first three. Of healthy runs: false alarms.

    Args:
        judged: cases.

    Returns:
        `first`, `three`, `false_alarms`, and `all_first`: first finding right of all cases.
    """
    faults = [case for case in judged if case.truth != HEALTHY]
    healthy = [case for case in judged if case.truth == HEALTHY]
    return {
        "first": _share(faults, lambda case: case.rank() == 1),
        "three": _share(faults, lambda case: (case.rank() or 4) <= 3),
        "false_alarms": _share(healthy, lambda case: case.rank() != 1),
        "all_first": _share(judged, lambda case: case.rank() == 1),
    }


def by(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, dict[str, Rate]]:
    """`rates` of each group of cases.

    Args:
        judged: cases.
        key: the group of one.

    Returns:
        Rates by group, in the order of their first cases.
    """
    groups: dict[str, list[Judged]] = {}
    for case in judged:
        groups.setdefault(key(case), []).append(case)
    return {name: rates(cases) for name, cases in groups.items()}


def confusion(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """How often each name came first, by truth; a finding that is as right as the truth is counted as the truth.

    Args:
        judged: cases.

    Returns:
        Counts of first findings by truth, both in the order of `NAMES`.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    for case in judged:
        first = case.said()[0]
        counts[case.truth][case.truth if case.right & _names(first) else first["name"]] += 1
    return {truth: dict(found) for truth, found in counts.items() if found}


def calibration(
    judged: Sequence[Judged], edges: Sequence[float] = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
) -> list[dict[str, Any]]:
    """First findings in bins of their confidence, and how many of them are right.

    Args:
        judged: cases.
        edges: of the bins; the last bin has its upper edge in it.

    Returns:
        For each bin that is not empty: `low` and `high`, `confidence` (mean), `right` (share), `interval`, `count`.
    """
    first = [(case.said()[0]["confidence"], case.rank() == 1) for case in judged if case.findings]
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = [pair for pair in first if low <= pair[0] < high or (high == edges[-1] and pair[0] == high)]
        if inside:
            rate = wilson(sum(right for _, right in inside), len(inside))
            rows.append(
                {
                    "low": low,
                    "high": high,
                    "confidence": float(np.mean([confidence for confidence, _ in inside])),
                    "right": rate.counted / rate.of,
                    "interval": [rate.low, rate.high],
                    "count": rate.of,
                }
            )
    return rows


def _share(cases: Sequence[Judged], is_counted: Callable[[Judged], bool]) -> Rate:
    return wilson(sum(is_counted(case) for case in cases), len(cases))


def _names(finding: Mapping[str, Any]) -> frozenset[str]:
    names: Iterable[str] = finding.get("names") or (finding["name"],)
    return frozenset(names)
