"""What to do about each finding: overrides of the config, and a sentence for whoever has no such config."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tricks.diagnosis.facts import Facts, derive
from tricks.diagnosis.findings import of_comparisons, of_data


class Prescription(NamedTuple):
    """One thing to do."""

    sentence: str
    overrides: dict[str, Any]
    """Fields of the config with their values; none where it is not in the config."""
    promises: str = "validation"
    """Which loss it is to lower."""


_MORE_OF_THE_SAME = "Take the weights of the best validation, and stop there (early stopping)"


def prescribe(name: str, measured: Mapping[str, Any], fields: Mapping[str, Any]) -> list[Prescription]:
    """What to do about a finding, the most promising first.

    Args:
        name: of the finding.
        measured: by topic, as in `report.json`.
        fields: of the config of the run; empty for foreign code.

    Returns:
        Prescriptions; those that would change nothing are left out.
    """
    facts = derive(measured)
    found = [*_by_comparison(name, facts, fields), *_GIVEN.get(name, lambda facts, fields: iter(()))(facts, fields)]
    kept: list[Prescription] = []
    advised: list[dict[str, Any]] = []
    for one in found:
        changes = {f: v for f, v in one.overrides.items() if _plain(fields.get(f)) != _plain(v)}
        if (one.overrides and not changes and fields) or _refuted(changes, measured.get("comparisons") or [], facts):
            continue
        # Of several values of the same fields the first is advice enough, the one that did best.
        if not one.overrides or all(one.overrides.keys() != other.keys() for other in advised):
            advised.append(one.overrides)
            kept.append(one._replace(overrides=changes if fields else {}))
    return kept


def _refuted(changes: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], facts: Facts) -> bool:
    """Whether a comparison run made the same change, and it helped neither training nor validation."""
    plain = {field: _plain(value) for field, value in changes.items()}
    names = {r["name"] for r in rows if plain and {f: _plain(v) for f, v in r["overrides"].items()} == plain}
    found = [facts.changes[name] for name in names if name in facts.changes]
    helped = any(change.train_gain > 0.01 or change.validation_gain > 0.01 for change in found)
    return bool(names) and not helped


def _by_comparison(name: str, facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    """What has mended it in a comparison run."""
    for suspect in of_comparisons.SUSPECTS:
        stopped = name == "undertrained" and facts.of("run").get("status") in ("interrupted", "going on")
        if suspect.name == name and not stopped:
            changes = [facts.changes[one] for one in suspect.mended_by if one in facts.changes]
            for change in sorted(changes, key=of_comparisons.gain, reverse=True):
                if of_comparisons.gain(change) > 0:
                    chosen = dict(change.overrides)
                    if "train.epochs" in chosen and fields.get("train.epochs"):
                        chosen["train.epochs"] = max(chosen["train.epochs"], 4 * fields["train.epochs"])
                    told = ", ".join(f"{field}={_shown(value)}" for field, value in chosen.items())
                    yield Prescription(f"{_SENTENCES[name]}, as a comparison run did: {told}", chosen)


_SENTENCES = {
    "unscaled_features": "Give every feature mean 0 and deviation 1",
    "saturated_loss": "Minimize the cross-entropy in place of the squared error",
    "over_regularized": "Weaken or leave out dropout, noise and decay",
    "bad_initialization": "Draw the first weights by He's or Glorot's rule",
    "batch_too_large": "Take smaller batches",
    "rate_too_large": "Lower the learning rate",
    "rate_too_small": "Raise the learning rate",
    "undertrained": "Train longer",
    "model_bias": "Take a more flexible model",
}


def _rate(fields: Mapping[str, Any], factor: float) -> dict[str, Any]:
    rate = fields.get("optimizer.learning_rate")
    return {"optimizer.learning_rate": float(f"{factor * rate:.6g}")} if rate else {}


def _is_perceptron(fields: Mapping[str, Any]) -> bool:
    return fields.get("model.build", "perceptron") == "perceptron"


def _network(fields: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {f"model.{name}": value for name, value in changes.items()} if _is_perceptron(fields) else {}


def _overfitting(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    share = fields.get("data.train_fraction", 1.0)
    more = facts.of("more_data").get("sentence") or "Get more examples"
    yield Prescription(more, {"data.train_fraction": 1.0} if share < 1 else {})
    yield Prescription(_MORE_OF_THE_SAME, {"early_stopping.patience": 5})
    if _is_perceptron(fields):
        yield Prescription("Drop hidden units at random in training (dropout)", {"model.dropout": 0.4})
    yield Prescription("Let weights decay", {"optimizer.l2": 0.01})
    yield Prescription("Change the examples a little at every step (augmentation)", {"data.augment.noise": 0.3})
    hidden = fields.get("model.hidden_sizes")
    if hidden and _is_perceptron(fields):
        yield Prescription("Take a smaller model", {"model.hidden_sizes": tuple(max(n // 4, 8) for n in hidden[:1])})


def _mismatch(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    features = (facts.of("shift").get("train_test") or {}).get("features") or []
    named = ", ".join(of_data.column(str(feature[0])) for feature in features[:5])
    which = f": compare {named} in both" if named else ""
    yield Prescription(f"Draw training and test examples from one distribution{which}", {})
    yield Prescription(
        "Or train on examples like those of the test, and normalize each part as the training examples are", {}
    )


def _label_noise(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Look the doubtful labels through, and correct them", {})
    yield Prescription("Stop before the wrong labels are memorized", {"early_stopping.patience": 5})
    if _is_perceptron(fields):
        yield Prescription("Make it harder to memorize them (dropout)", {"model.dropout": 0.4})
    yield Prescription("Let weights decay", {"optimizer.l2": 0.01})


def _leakage(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Remove the copies, or keep those of one origin on one side (data.group_column)", {})


def _class_imbalance(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Look at the recall of each class, and not at the accuracy", {})
    yield Prescription("Get more examples of the rare classes, repeat those there are, or weigh them in the loss", {})


def _undertrained(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    epochs = fields.get("train.epochs")
    if facts.of("run").get("status") in ("interrupted", "going on"):
        yield Prescription(f"Let it go on to the end of its {epochs} epochs", {}, "training")
    else:
        yield Prescription("Train longer", {"train.epochs": 4 * epochs} if epochs else {}, "training")


def _saddle(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Leave it along negative curvature (saddle escape)", {"escape.enabled": True}, "training")
    yield Prescription("Draw other first weights", _network(fields, initializer="he"), "training")


def _plateau(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    noisy = {"escape.enabled": True, "escape.noise": True}
    yield Prescription("Draw other first weights", _network(fields, initializer="he"), "training")
    yield Prescription("Disturb the weights where derivatives vanish", noisy, "training")
    yield Prescription("Normalize each layer", _network(fields, batch_norm=True), "training")


def _minimum(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    hidden = fields.get("model.hidden_sizes")
    wide = tuple(max(4 * n, 128) for n in hidden or (32,))
    yield Prescription("Take a more flexible model", _network(fields, hidden_sizes=wide), "training")
    yield Prescription("Begin from other weights", {"seed": fields["seed"] + 1} if "seed" in fields else {}, "training")


def _stuck(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Let the rate fall towards the end", {"schedule.shape": "cosine"}, "training")
    yield Prescription("Lower the learning rate", _rate(fields, 0.1), "training")
    yield Prescription("Let each weight have its own rate", {"optimizer.name": "adam"}, "training")


def _unlucky(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    if facts.seeds and "seed" in fields:
        seeds = [row for row in facts.measured.get("comparisons") or [] if row["name"] == "same"]
        known = [row for row in seeds if row.get("best_validation_loss") is not None]
        best = min(known, key=lambda row: row["best_validation_loss"], default=None)
        if best is not None:
            yield Prescription("Begin from other weights: train several seeds", {"seed": best["seed"]}, "training")
    hidden = fields.get("model.hidden_sizes")
    if hidden:
        wide = tuple(max(4 * n, 32) for n in hidden)
        yield Prescription("A wider network depends less on luck", _network(fields, hidden_sizes=wide), "training")


def _conditioned(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Normalize each layer", _network(fields, batch_norm=True), "training")
    rectified = _network(fields, activation="relu", initializer="he")
    yield Prescription("Take an activation that does not saturate", rectified, "training")
    yield Prescription("Take fewer layers, or connections that skip some", {}, "training")


def _exploding(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription("Normalize each layer", _network(fields, batch_norm=True), "training")
    yield Prescription("Draw smaller first weights", _network(fields, initializer="glorot"), "training")
    yield Prescription("Clip gradients, and lower the learning rate", {}, "training")


def _dead(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    initial = (facts.of("layers").get("initial") or {}).get("activations") or []
    if max((one.get("dead") or 0.0 for one in initial), default=0.0) < 0.5:
        yield Prescription("Lower the learning rate: its steps killed the units", _rate(fields, 0.1), "training")
    else:
        yield Prescription("Draw the first weights about 0, and begin with biases of 0", {}, "training")
    yield Prescription("Normalize each layer", _network(fields, batch_norm=True), "training")
    yield Prescription("Take an activation that is never flat", _network(fields, activation="gelu"), "training")


def _initialization(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    yield Prescription(
        "Draw the first weights with a variance of 2 / inputs (relu) or 2 / (inputs + outputs)",
        _network(fields, initializer="he"),
        "training",
    )
    yield Prescription("Normalize each layer", _network(fields, batch_norm=True), "training")


def _non_finite(facts: Facts, fields: Mapping[str, Any]) -> Iterator[Prescription]:
    # The one that a comparison learned most with; otherwise one below all that were tried.
    ended = facts.cure(*of_comparisons.LOWER_RATES)
    lowest = 10.0 ** -(len(of_comparisons.LOWER_RATES) + 1) if facts.measured.get("comparisons") else 0.1
    lower = dict(ended.overrides) if ended else _rate(fields, lowest)
    untried = "" if ended else ", which no comparison run has tried"
    yield Prescription(f"Lower the learning rate{untried}", lower, "training")
    yield Prescription("And raise it slowly at first", lower | {"schedule.warmup_steps": 100}, "training")
    yield Prescription("Look for logarithms of 0, divisions by 0 and large exponents where it began", {})


_GIVEN = {
    "overfitting": _overfitting,
    "mismatch": _mismatch,
    "label_noise": _label_noise,
    "leakage": _leakage,
    "class_imbalance": _class_imbalance,
    "undertrained": _undertrained,
    "saddle": _saddle,
    "degenerate_plateau": _plateau,
    "minimum": _minimum,
    "stuck_not_critical": _stuck,
    "unlucky_start": _unlucky,
    "vanishing_gradients": _conditioned,
    "saturated_units": _conditioned,
    "exploding_gradients": _exploding,
    "dead_units": _dead,
    "bad_initialization": _initialization,
    "non_finite": _non_finite,
    "rate_too_large": lambda facts, fields: iter([Prescription("Lower the learning rate", _rate(fields, 0.1))]),
    "rate_too_small": lambda facts, fields: iter([Prescription("Raise the learning rate", _rate(fields, 10.0))]),
    "unscaled_features": lambda facts, fields: iter(
        [Prescription("Give every feature mean 0 and deviation 1", {"data.normalization": "feature"})]
    ),
    "saturated_loss": lambda facts, fields: iter(
        [
            Prescription(
                "Where the loss is a squared error after a softmax or sigmoid, minimize the cross-entropy in its place",
                {"loss.name": "cross_entropy"},
            )
        ]
    ),
    "batch_too_large": lambda facts, fields: iter(
        [Prescription("Take smaller batches", {"data.batch_size": 32}), Prescription("Or raise the rate with it", {})]
    ),
    "over_regularized": lambda facts, fields: iter([Prescription("Weaken or leave out dropout, noise and decay", {})]),
    "model_bias": lambda facts, fields: iter(
        [
            Prescription("Give it more features", {}),
            Prescription("Take more layers or units", {}),
        ]
    ),
}


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
