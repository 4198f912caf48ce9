"""How far a finding is to be believed: its strength and place, set against how often such findings were right."""

from tricks.diagnosis.findings import Finding

_FIRST, _OTHERS = (0.5, 0.45), (0.05, 0.3)
"""Confidence at strength 0, and what it grows by up to strength 1; from the development part of the corpus of planted
faults, where the first findings of full strength were right in 52 of 52 cases and other findings in a quarter."""
_WITHOUT_COMPARISONS = 0.75


def of(finding: Finding, *, first: bool, complete: bool) -> float:
    """The share of findings like this one that named what was planted.

    Args:
        finding: with its strength.
        first: whether it is the strongest.
        complete: whether comparison runs were made.

    Returns:
        From 0 to 1, to two digits.

    >>> of(Finding("leakage", 1.0, ()), first=True, complete=True)
    0.95
    >>> of(Finding("leakage", 1.0, ()), first=False, complete=True)
    0.35
    """
    least, growth = _FIRST if first else _OTHERS
    return round((least + growth * finding.strength) * (1.0 if complete else _WITHOUT_COMPARISONS), 2)
