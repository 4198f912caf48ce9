"""Findings on what goes through the layers: gradients that vanish or explode, units that are dead or saturated."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tricks.diagnosis.facts import Facts
from tricks.diagnosis.findings import of_comparisons
from tricks.diagnosis.findings.finding import Finding, graded

_LITTLE_HARM = 0.4


def find(facts: Facts) -> Iterator[Finding]:
    """The findings on layers.

    Args:
        facts: of the run.

    Yields:
        Findings, also weak ones.
    """
    initial, last = facts.of("layers").get("initial"), facts.of("layers").get("last")
    if initial:
        when = "before the first step"
        for finding in (
            *_gradients(facts, initial, when),
            *_units(facts, initial, when),
            *_start(facts, initial),
        ):
            yield finding._replace(before_training=True)
    if last:
        yield from _gradients(facts, last, "at the end", least=100.0)
        yield from _units(facts, last, "at the end")


def harm(facts: Facts) -> float:
    """How much is lost to whatever is wrong: a mechanism that does no harm is no finding.

    Args:
        facts: of the run.

    Returns:
        1 where training is clearly worse than it could be, down to a little where it is fine.
    """
    lost = max(of_comparisons.most(facts), (facts.train or 0.0) - 0.3 if not facts.changes else 0.0)
    return max(graded(lost, 0.02, 0.08), _LITTLE_HARM) if lost > 0 else _LITTLE_HARM


def _gradients(facts: Facts, found: Mapping[str, Any], when: str, least: float = 30.0) -> Iterator[Finding]:
    """A trained network may well have layers with unlike gradients, so that there it takes more than at the start."""
    activations = [a for a in found.get("activations") or [] if a.get("signal") is not None]
    # Of one kind: attention and what follows it have gradients of different sizes by nature.
    kinds = Counter(a["kind"] for a in activations)
    signals = [a["signal"] for a in activations if a["kind"] == kinds.most_common(1)[0][0]]
    if len(signals) < 2 or not signals[0] or not signals[-1]:
        return
    ratio = signals[0] / signals[-1]
    told = f"{when} the gradient at the first of {len(signals)} activations is {ratio:.2g} times that at the last"
    yield Finding("vanishing_gradients", graded(1 / ratio, least, 10 * least) * harm(facts), (told,))
    yield Finding("exploding_gradients", graded(ratio, least, 10 * least) * harm(facts), (told,))


def _units(facts: Facts, found: Mapping[str, Any], when: str) -> Iterator[Finding]:
    activations = found.get("activations") or []
    dead = [(a["dead"], a["name"]) for a in activations if a.get("dead") is not None and a["kind"] in _CAN_DIE]
    saturated = [(a["saturated"], a["name"]) for a in activations if a.get("saturated") is not None]
    if dead:
        share, name = max(dead)
        told = f"{when} {share:.0%} of the units of {name} are 0 for every example"
        yield Finding("dead_units", graded(share, 0.5, 0.95) * harm(facts), (told,))
    if saturated:
        share, name = max(saturated)
        told = f"{when} {share:.0%} of the values of {name} are on the flat parts"
        yield Finding("saturated_units", graded(share, 0.4, 0.9) * harm(facts), (told,))


_CAN_DIE = ("relu", "relu6")


def _start(facts: Facts, initial: Mapping[str, Any]) -> Iterator[Finding]:
    """A loss before the first step that is far above that of a constant answer, or outputs that do not depend on the
    example."""
    if facts.chance and initial.get("loss") is not None:
        share = initial["loss"] / facts.chance
        told = f"before the first step the loss is {share:.3g} times that of the best constant answer"
        yield Finding("bad_initialization", graded(share, 5.0, 40.0) * harm(facts), (told,))
        yield from _flat_loss(facts, initial, share)
    similarity = initial.get("output_similarity")
    scale = initial.get("output_scale")
    if scale is not None and similarity is not None and scale < 1e-3:
        told = f"before the first step all outputs are alike: their root mean square is {scale:.2g}"
        yield Finding("bad_initialization", graded(1e-3 / max(scale, 1e-12), 1.0, 100.0) * harm(facts), (told,))


def _flat_loss(facts: Facts, initial: Mapping[str, Any], share: float) -> Iterator[Finding]:
    """A loss above that of a constant answer whose gradient by the last layer is nearly 0: it has a flat part, as the
    squared error after a softmax or sigmoid has where the answer is quite wrong."""
    slope = (initial.get("layers") or [{}])[-1].get("gradient_norm")
    if slope is None or not 1.25 < share < 5:
        return
    steepness = max(slope / initial["loss"], 1e-12)
    told = (
        f"before the first step the loss is {share:.3g} times that of the best constant answer, and its gradient by "
        f"the last layer only {steepness:.1g} of it"
    )
    yield Finding("saturated_loss", graded(0.05 / steepness, 1.0, 5.0) * harm(facts), (told,))
