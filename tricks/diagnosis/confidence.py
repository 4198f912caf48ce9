"""How far a finding is to be believed: its strength, set against how often findings of that strength were right."""

import math

from tricks.diagnosis.findings import Finding

_OFFSET, _SLOPE = -2.0, 5.0
"""Of a logistic curve, fitted to the development part of the corpus of planted faults."""
_WITHOUT_COMPARISONS = 0.8


def of(finding: Finding, *, complete: bool) -> float:
    """The share of findings like this one that were right where the fault was known.

    confidence = 1 / (1 + exp(-(a + b strength)))

    Args:
        finding: with its strength.
        complete: whether comparison runs were made.

    Returns:
        From 0 to 1, to two digits.

    >>> of(Finding("leakage", 1.0, ()), complete=True) > of(Finding("leakage", 0.5, ()), complete=True)
    True
    """
    share = 1 / (1 + math.exp(-(_OFFSET + _SLOPE * finding.strength)))
    return round(share * (1.0 if complete else _WITHOUT_COMPARISONS), 2)
