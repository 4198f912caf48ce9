"""What more examples would bring: the validation loss over nested parts of the training examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from tricks.diagnosis.comparison_plan import SHARES


def measure(comparisons: Sequence[Mapping[str, Any]], examples: int) -> dict[str, Any] | None:
    """Reads off what twice the examples would bring.

    With V(n) the best validation loss after training on n examples, the last halving is taken to repeat itself:
    V(2n) = V(n) V(n) / V(n / 2), as on a power law.

    Args:
        comparisons: rows as in `report.json`, among them those of `SHARES`.
        examples: that the run was trained on.

    Returns:
        `curve` of pairs of examples and losses, `expected` with twice as many, and a `sentence`; None where they were
        not compared.

    >>> half = {"name": "half of the examples", "best_validation_loss": 2.0}
    >>> measure([{"name": "same", "best_validation_loss": 1.0}, half], 100)["expected"]
    0.5
    """
    shares = {**SHARES, "same": 1.0}
    found: dict[float, float] = {}
    for row in comparisons:
        share, loss = shares.get(row["name"]), row.get("best_validation_loss")
        if share is not None and loss is not None:
            found.setdefault(share, loss)
    if not {0.5, 1.0} <= set(found) or found[0.5] <= 0:
        return None
    expected = found[1.0] * min(found[1.0] / found[0.5], 1.0)
    curve = [[round(share * examples), found[share]] for share in sorted(found)]
    told = ", ".join(f"{loss:.3g} with {count}" for count, loss in curve)
    return {
        "curve": curve,
        "expected": expected,
        "sentence": f"Get more examples: the validation loss is {told}; twice as many would bring about {expected:.3g}",
    }
