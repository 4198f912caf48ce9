"""Findings on the examples: leakage, label noise, classes that are rare, parts that do not match."""

from collections.abc import Iterator

from tricks.diagnosis.facts import Facts
from tricks.diagnosis.findings.finding import Finding, graded


def find(facts: Facts) -> Iterator[Finding]:
    """The findings on the examples.

    Args:
        facts: of the run.

    Yields:
        Findings, also weak ones.
    """
    yield from _leakage(facts)
    yield from _label_noise(facts)
    yield from _class_imbalance(facts)
    yield from _mismatch(facts)


def _leakage(facts: Facts) -> Iterator[Finding]:
    found = facts.of("duplicates")
    for part in ("test", "validation"):
        share, expected = found.get(f"train_in_{part}"), found.get("expected") or 0.0
        if isinstance(share, dict):
            interval, value = share.get("interval") or [0.0, 0.0], share.get("share")
            # Tables of few values, or of few columns, repeat by chance: as training examples do among themselves.
            by_chance = max(expected, ((found.get("within_train") or {}).get("interval") or [0.0, 0.0])[1])
            strength = graded(interval[0] - by_chance, 0.01, 0.05)
            yield Finding(
                "leakage",
                strength,
                (
                    f"{value:.1%} of the {part} examples ({interval[0]:.1%} to {interval[1]:.1%}) are training "
                    f"examples too; by chance {expected:.1%} would be",
                ),
            )


def _label_noise(facts: Facts) -> Iterator[Finding]:
    found = facts.of("labels")
    noise = found.get("estimated_noise")
    if noise is not None:
        low, high = found.get("noise_interval") or (noise, noise)
        yield Finding(
            "label_noise",
            graded(low, 0.05, 0.2),
            (
                f"about {noise:.0%} of the labels ({low:.0%} to {high:.0%}) contradict what the others predict for "
                "such examples with confidence",
            ),
        )


def _class_imbalance(facts: Facts) -> Iterator[Finding]:
    found = facts.of("labels")
    ratio, recall = found.get("imbalance_ratio"), facts.of("recall")
    if ratio is None:
        return
    strength = graded(ratio, 6.0, 20.0)
    evidence = [f"the most frequent class has {ratio:.3g} times the examples of the rarest"]
    balanced, accuracy = recall.get("mean"), recall.get("accuracy")
    if balanced is not None and accuracy is not None:
        # A network that learned the rare ones as well as the others is not harmed.
        strength = min(strength, graded(accuracy - balanced, 0.08, 0.3))
        evidence.append(f"{accuracy:.1%} of the held-out answers are right, and {balanced:.1%} as a mean over classes")
    yield Finding("class_imbalance", strength, tuple(evidence))


def _mismatch(facts: Facts) -> Iterator[Finding]:
    unknown = (facts.of("labels").get("missing") or {}).get("train")
    if unknown:
        told = f"classes {', '.join(map(str, unknown))} are held out and not among the training examples"
        yield Finding("mismatch", 1.0, (told,), before_training=True)
    found = facts.of("shift").get("train_test")
    if not isinstance(found, dict):
        return
    auc, p_value, labels = found.get("auc"), found.get("p_value"), found.get("labels_p_value")
    by_features = graded(auc - 0.5, 0.08, 0.25) if auc is not None and p_value is not None and p_value < 0.01 else 0.0
    by_labels = graded(1e-3 / labels, 1.0, 1e6) if labels else 0.0
    strength = max(by_features, by_labels)
    evidence = []
    if auc is not None and by_features >= by_labels:
        evidence.append(f"a probe tells test from training examples (area {auc:.2f}, by chance 0.5; p = {p_value:.2g})")
    elif labels is not None:
        evidence.append(f"the classes are spread otherwise in the test (p = {labels:.2g})")
    other = "validation" if (facts.of("gaps").get("validation") or {}).get("loss") is not None else "training"
    beside = facts.validation if other == "validation" else facts.train
    if facts.test is not None and beside is not None:
        evidence.append(f"the test loss is {facts.test:.2f} of that of a constant answer, {other} {beside:.2f}")
        # A difference that does no harm is no cause.
        strength = min(strength, graded(facts.test - beside, 0.05, 0.3))
    features = [f"{column(name)} ({apart:.2f})" for name, apart, *_ in (found.get("features") or [])[:5]]
    if features:
        evidence.append(f"features that differ most, with the distance of their distributions: {', '.join(features)}")
    yield Finding("mismatch", strength, tuple(evidence))


def column(name: str) -> str:
    """The name of a feature within a list of them.

    >>> column("age"), column("7, 0, 0")
    ('age', '[7, 0, 0]')
    """
    return f"[{name}]" if "," in name else name
