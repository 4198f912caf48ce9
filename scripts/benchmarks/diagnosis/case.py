"""What a case of the corpus is, and the programs that cases are variants of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

DEVELOPMENT, HELD_OUT = "development", "held-out"
HEALTHY = "healthy"
NAMES = (
    *(HEALTHY, "model_bias", "overfitting", "mismatch", "label_noise", "leakage", "class_imbalance", "undertrained"),
    *("rate_too_large", "rate_too_small", "saddle", "degenerate_plateau", "minimum", "stuck_not_critical"),
    *("unlucky_start", "vanishing_gradients", "exploding_gradients", "dead_units", "saturated_units"),
    *("bad_initialization", "unscaled_features", "saturated_loss", "over_regularized", "batch_too_large", "non_finite"),
)

Overrides = Mapping[str, Any]
"""Fields of a config by their dotted paths."""


class Program(NamedTuple):
    """Data, network and optimizer that work."""

    name: str
    part: str
    base: Overrides
    measure: str
    """`accuracy` or `loss`, of the test with the best weights."""
    good: float
    """What a healthy run of it reaches."""
    healthy: Mapping[str, Overrides]
    """Variants that work too, by what is different."""


class Plant(NamedTuple):
    """A fault put into a program."""

    program: str
    truth: str
    kind: str
    """How it was made; the same truth has several."""
    fault: Overrides
    seed: int = 0
    cheap: bool = False
    """One of the dozen for quick tests."""


class Case(NamedTuple):
    """One run of the corpus."""

    name: str
    program: str
    part: str
    base: Overrides
    fault: Overrides
    files: tuple[str, ...]
    """That the corpus makes before it is trained."""
    truth: str
    kind: str
    also: Mapping[str, str]
    """Names that are as right as a first finding, each with the reason."""
    seed: int
    cheap: bool = False

    @property
    def twin(self) -> str:
        """Name of the healthy run that it is compared with."""
        return f"{self.program}-healthy"

    @property
    def right(self) -> frozenset[str]:
        """Names that are right as a first finding."""
        return frozenset({self.truth, *self.also})
