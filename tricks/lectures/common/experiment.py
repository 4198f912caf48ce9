"""What an experiment is, and which there are."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"

# In the order of the lectures, under the names of their chapters.
CHAPTERS = {
    "Critical points": (
        *("toy_saddle", "taylor", "minimum_ratio", "more_dimensions", "saddles_not_minima", "stuck_not_critical"),
        "saddle_escape",
    ),
    "Batches": ("batch_time", "gradient_noise", "batch_accuracy", "sharp_minima", "large_batch_lamb"),
    "Momentum and learning rates": (
        *("momentum_weighted_sum", "momentum_escapes", "adaptive_rates", "rmsprop_crescent", "rate_decay", "warmup"),
    ),
    "Losses and normalization": (*("mse_or_cross_entropy", "softmax_sigmoid", "feature_scaling", "batch_norm"),),
    "Regularization and diagnosis": ("early_stopping", "l1_or_l2", "dropout", "bias_or_optimization"),
}
NAMES = tuple(name for chapter in CHAPTERS.values() for name in chapter)

Data = Mapping[str, Any]
"""What the runs of an experiment came to: plain values, as JSON keeps them."""


class Claim(NamedTuple):
    """What is claimed, and what will be said of it, written before anything is run."""

    title: str
    """The claim, in a line."""
    idea: str
    """The lecture's reasoning in our words."""
    lecture: str
    """Lecture and passage."""
    rule: str
    """When it is supported, when it is refuted; inconclusive otherwise."""
    source: str = ""
    """Papers."""
    second_rule: str = ""
    """Another one, written after the first result was seen, where the first rule proved weak; the first stays."""


class Effort(NamedTuple):
    """How much is run."""

    quick: bool
    """Fewer seeds and steps, and the digits."""
    images: str
    """`mnist` where it is prepared and not left out for speed, else `digits`."""

    def pick(self, full: Any, quick: Any) -> Any:
        """The value for this effort.

        >>> Effort(True, "digits").pick(5, 2)
        2
        """
        return quick if self.quick else full

    def of_images(self, mnist: Any, digits: Any) -> Any:
        """The value for these images: what suits tens of thousands of examples, or what suits hundreds.

        >>> Effort(False, "digits").of_images(4096, 256)
        256
        """
        return digits if self.quick or self.images == "digits" else mnist


class Second(NamedTuple):
    """What the second rule of a claim makes of the data."""

    verdict: str
    """`supported`, `refuted` or `inconclusive`."""
    measured: float
    """Size of the effect."""
    interval: tuple[float, float]
    """Of 95 %."""
    effect: str
    """What `measured` is, with its unit."""


class Judgement(NamedTuple):
    """What the decision rule makes of the data."""

    verdict: str
    """`supported`, `refuted` or `inconclusive`."""
    measured: float
    """Size of the effect."""
    interval: tuple[float, float]
    """Of 95 %, or of all that was seen where nothing is drawn at random."""
    effect: str
    """What `measured` is, with its unit."""
    sentence: str
    """What was seen, and where the claim does not hold what is true instead."""
    details: Mapping[str, Any] = {}
    """Other numbers that a reader may ask for."""
    second: Second | None = None
    """Where the claim has a second rule."""


class Experiment(NamedTuple):
    """A file of `tricks.lectures`."""

    name: str
    claim: Claim
    run: Callable[[Effort, Callable[[str], None]], dict[str, Any]]
    """`run(effort, note) -> data`: all that takes time; `note` is told how far it is."""
    judge: Callable[[Data], Judgement]
    """The decision rule: `judge(data) -> judgement`, the same for the same data."""
    draw: Callable[[Data], Any]
    """`draw(data) -> figure` of Matplotlib, the same for the same data."""
    path: str
    """Of its source."""


def load(name: str) -> Experiment:
    """Imports an experiment.

    Args:
        name: one of `NAMES`.

    Returns:
        What its file declares.

    >>> load("toy_saddle").name
    'toy_saddle'
    """
    module = importlib.import_module(f"tricks.lectures.{name}")
    return Experiment(name, module.CLAIM, module.run, module.judge, module.draw, str(module.__file__))
