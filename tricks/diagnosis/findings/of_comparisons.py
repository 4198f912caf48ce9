"""Findings by comparison runs: what is wrong is what, changed alone, makes training and validation better."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tricks.diagnosis.comparison_plan import SHARES
from tricks.diagnosis.facts import Change, Facts
from tricks.diagnosis.findings.finding import Finding, graded

NO_REMEDY = ("subset", *SHARES)
"""Comparisons on fewer examples, which no one would take for a cure."""
LEAST, _FULL = 0.05, 0.3
"""Of all there is to learn, what a change must bring to validation to count, and to leave no doubt."""
_RATIO = 0.8
_MOST_DOUBT = 0.15
_SEEN = 1.4
_NEAR = 0.7
"""Of the most that any change brought, what another must bring to be taken for the cause instead."""


class Suspect(NamedTuple):
    """A cause, the changes that would mend it, and how well it fits what was measured besides."""

    name: str
    mended_by: tuple[str, ...]
    fits: Callable[[Facts], float]
    """From 0, which rules it out; above 1 it goes before others that mend as much."""


def _always(facts: Facts) -> float:
    return 1.0


def _few_updates(facts: Facts) -> float:
    """Batches so large that an epoch has few updates."""
    size, count = facts.of("task").get("batch_size"), (facts.of("task").get("examples") or {}).get("train")
    if not size or not count:
        return 0.0
    return 1.4 if count / size <= 6 else (1.0 if size >= 512 else 0.0)


def _badly_scaled(facts: Facts) -> float:
    found = facts.of("features")
    before, after = found.get("condition"), found.get("condition_standardized")
    return 1.5 if before and after and before > 10 * after else 0.6


LOWER_RATES = tuple(f"rate / 1{'0' * zeros}" for zeros in range(1, 8))
"""In comparison runs of one that diverged all of them, else the first two."""
# In the order in which they are believed where they mend about as much.
SUSPECTS = (
    Suspect("unscaled_features", ("normalized features",), _badly_scaled),
    Suspect("saturated_loss", ("cross entropy",), lambda facts: 1.2),
    Suspect("over_regularized", ("unregularized",), lambda facts: 1.2),
    Suspect("bad_initialization", ("drawn weights",), lambda facts: 1.2),
    Suspect("batch_too_large", ("smaller batches",), _few_updates),
    Suspect("rate_too_large", LOWER_RATES, _always),
    Suspect("rate_too_small", ("rate x 10", "rate x 100"), _always),
    Suspect("undertrained", ("longer",), _always),
    Suspect("model_bias", ("wider", "deeper", "perceptron"), _always),
)


def gain(change: Change | None, *, seen: bool = False) -> float:
    """What a change brought to validation, as far as training has gained too and it is no mere trifle of the loss.

    Args:
        change: by a comparison; None for none.
        seen: whether what it mends was measured besides: then training alone may show that it did, as long as
            validation is not worse.

    Returns:
        A share of all there is to learn; 0 where it did not help.
    """
    if change is not None and seen and change.validation_ratio < 1:
        return max(change.train_gain, change.validation_gain, 0.0)
    if change is None or change.validation_ratio > _RATIO:
        return 0.0
    return max(min(change.validation_gain, 2 * change.train_gain), 0.0)


def most(facts: Facts) -> float:
    """The most that any change brought.

    Args:
        facts: of the run.
    """
    return max(
        [gain(change) for change in (*facts.changes.values(), *_lucky(facts)) if change.name not in NO_REMEDY],
        default=0.0,
    )


def small_gain(facts: Facts) -> list[str]:
    """The comparison that does best, in a sentence, where it makes the loss a good deal smaller, little as it was.

    Args:
        facts: of the run.
    """
    able = [c for c in facts.changes.values() if c.name not in NO_REMEDY and "loss.name" not in c.overrides]
    best = min(able, key=lambda change: change.validation_ratio, default=None)
    return [_told(best)] if best is not None and gain(best) > 0 else []


def _lucky(facts: Facts) -> list[Change]:
    """The middle one of the other seeds: one that is lucky proves nothing."""
    ranked = sorted(facts.seeds, key=lambda change: change.validation_gain)
    return [ranked[(len(ranked) - 1) // 2]] if ranked else []


def find(facts: Facts) -> Iterator[Finding]:
    """The findings that comparison runs allow.

    Args:
        facts: of the run.

    Yields:
        Findings, also weak ones.
    """
    highest = most(facts)
    if highest <= 0:
        highest = LEAST
    yield from _unlucky(facts, highest)
    for suspect in SUSPECTS:
        change = facts.cure(*suspect.mended_by)
        fits = suspect.fits(facts)
        brought = gain(change, seen=fits >= _SEEN)
        if change is None or brought <= 0 or fits <= 0:
            continue
        # Errors are no losses: of those it is asked how many are left.
        mended = 1 - change.validation_ratio if "loss.name" in change.overrides else brought / highest
        share = min(mended, 1.0) * fits
        strength = _clear(brought, facts) * min(share / _NEAR, 1.0) * min(0.75 + 0.25 * fits * share, 1.0)
        yield Finding(suspect.name, _weighed(suspect.name, strength, facts, highest), (_told(change),))


def _clear(brought: float, facts: Facts) -> float:
    """Few validation examples tell small gains by chance."""
    least = max(LEAST, min(facts.uncertainty("validation"), _MOST_DOUBT))
    return graded(brought, least, max(_FULL, 2 * least))


def _unlucky(facts: Facts, highest: float) -> Iterator[Finding]:
    for change in _lucky(facts):
        brought = gain(change)
        if brought > 0:
            share = min(brought / highest, 1.0)
            told = (
                f"{len(facts.seeds)} other seeds of the same training reach a validation loss of "
                f"{', '.join(f'{one.validation:.3g}' for one in facts.seeds)}",
            )
            yield Finding("unlucky_start", _clear(brought, facts) * min(share / _NEAR, 1.0), told)


def _weighed(name: str, strength: float, facts: Facts, highest: float) -> float:
    longer, faster = gain(facts.changes.get("longer")), gain(facts.cure("rate x 10", "rate x 100"))
    if name == "rate_too_small" and longer >= _NEAR * faster:
        return strength * 0.8  # More of the same does as well.
    if name == "undertrained" and longer < _NEAR * faster:
        return strength * 0.8
    return strength * _by_flexibility(facts, highest) if name == "model_bias" else strength


def _by_flexibility(facts: Facts, highest: float) -> float:
    """Whether it is its freedom that makes another network better."""
    task = facts.of("task")
    of_linear = ((task.get("features") or 0) + 1) * (task.get("classes") or 1)
    if (task.get("parameters") or 0) > of_linear and gain(facts.cure("linear")) >= _NEAR * highest:
        return 0.5  # One with less freedom does as well: it is the optimization.
    within = gain(facts.cure("wider", "deeper"))
    if within < _NEAR * highest and _at_a_minimum(facts):
        return 0.5  # One of another kind, where this one stands in a pit: there may be a deeper one.
    # A larger network learns faster as well: it was the model only where nothing of the optimization helps as much.
    others = [gain(facts.cure(*suspect.mended_by)) for suspect in SUSPECTS if suspect.name != "model_bias"]
    others += [gain(change) for change in _lucky(facts)]
    return 1.0 if max(others, default=0.0) < _NEAR * highest else 0.8


def _at_a_minimum(facts: Facts) -> bool:
    point = facts.of("curvature")
    smallest, loss = point.get("smallest"), point.get("loss")
    if smallest is None or not loss:
        return False
    return bool(smallest > 0 and (point.get("descent_gain") or 0.0) < 0.005 * loss)


def _told(change: Change) -> str:
    changed = ", ".join(f"{field}={value}" for field, value in change.overrides.items())
    words = "error" if "loss.name" in change.overrides else "loss"
    return (
        f"with {changed} alone the validation {words} is {change.validation:.3g} instead of "
        f"{change.validation_before:.3g}, and the training {words} {change.train:.3g}"
    )
