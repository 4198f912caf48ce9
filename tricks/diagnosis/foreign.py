"""The diagnosis of anybody's training in JAX: a loss, parameters and arrays, whatever trained them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.data import Split
from tricks.diagnosis import foreign_chance, judging
from tricks.diagnosis import foreign_inputs as inputs
from tricks.diagnosis.measurements import curvature, curves, duplicates, examples, features, gaps, labels, layers, shift
from tricks.diagnosis.report import files

_SAMPLE, _LAYER_SAMPLE, _CURVATURE_SAMPLE = 2000, 500, 1000
_COMPARISONS: tuple[tuple[str, dict[str, float]], ...] = (
    ("same", {"seed": 1}),
    ("same", {"seed": 2}),
    ("same", {"seed": 3}),
    ("rate / 10", {"rate_factor": 0.1}),
    ("rate / 100", {"rate_factor": 0.01}),
    ("rate x 10", {"rate_factor": 10.0}),
    ("rate x 100", {"rate_factor": 100.0}),
    ("longer", {"length_factor": 4.0}),
    ("unregularized", {"regularization_factor": 0.0}),
    ("wider", {"width_factor": 4.0}),
    ("deeper", {"more_layers": 2}),
)

Arrays = tuple[Any, Any]
"""Features, a pytree of arrays (n, ...), and targets (n, ...)."""


class Diagnosis(NamedTuple):
    """What was found; `print` shows the short form."""

    report: dict[str, Any]
    """As in `report.json`."""

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The strongest first, each with `name`, `confidence`, `evidence`, `lecture` and `prescription`."""
        found: list[dict[str, Any]] = self.report["findings"]
        return found

    def __str__(self) -> str:
        from tricks.diagnosis.report.terminal import terminal

        return terminal(self.report)

    def write(self, folder: str | Path) -> None:
        """Writes `report.json` and `report.html`.

        Args:
            folder: where; made where it is missing.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        files.write(self.report, path)


def diagnose(
    loss_fn: Callable[[Any, Any], jax.Array],
    params: Any,
    train: Arrays,
    test: Arrays | None = None,
    *,
    validation: Arrays | None = None,
    history: Sequence[Mapping[str, float]] | Mapping[str, Sequence[float]] | None = None,
    apply: Callable[[Any, Any], Any] | None = None,
    initial_params: Any = None,
    train_fn: Callable[..., tuple[float, float]] | None = None,
    chance_loss: float | None = None,
    learning_rate: float | None = None,
    name: str = "training",
    seed: int = 0,
) -> Diagnosis:
    """Says why a training does not behave. What is not given is not judged.

    Args:
        loss_fn: `loss_fn(params, (features, targets))`, the mean loss in evaluation mode.
        params: where the training has come to: any pytree, of which floating leaves are looked at.
        train: training examples.
        test: of the test.
        validation: held out to stop and to choose by; the test stands in for it where it is missing.
        history: rows with `train_loss` and `validation_loss` of each epoch, or lists by these names, or by Keras'.
        apply: `apply(params, features) -> outputs`, of classes a score for each: then accuracies, and labels that a
            trained network contradicts, are judged too.
        initial_params: before the first step.
        train_fn: trains anew and returns the mean losses of training and validation, in evaluation mode. It is called
            with those of these keywords that it has: `seed`, `rate_factor`, `length_factor`, `width_factor`,
            `regularization_factor`, `more_layers`; without any it repeats the training.
        chance_loss: the loss of the best constant answer. By default what cross-entropy comes to where the targets are
            classes, and the mean squared error where they are numbers, if that fits what `loss_fn` gives.
        learning_rate: for the report.
        name: for the report.
        seed: of samples and random vectors.

    Returns:
        `Diagnosis`.

    Raises:
        ValueError: names the argument that cannot be used.

    >>> x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    >>> y = x @ np.array([1.0, -1.0], np.float32)
    >>> loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    >>> found = diagnose(loss, jnp.array([1.0, -1.0]), (x[:300], y[:300]), (x[300:], y[300:]))
    >>> found.findings[0]["name"]
    'healthy'
    """
    parts = {"train": train, "validation": validation, "test": test}
    splits = {part: inputs.split_of(part, arrays) for part, arrays in parts.items() if arrays is not None}
    if chance_loss is not None and not chance_loss > 0:
        raise ValueError(f"chance_loss is {chance_loss!r}; give a number above 0, or None")
    inputs.alike(splits)
    weights = inputs.parameters_of(params)
    inputs.checked_apply(apply, params, gaps.taken(splits["train"], _LAYER_SAMPLE))
    of_numbers, loss = inputs.checked_loss(loss_fn, weights, _first(splits["train"]))
    known, classes = inputs.with_classes(splits)
    missing: list[str] = []
    measured: dict[str, Any] = {"run": {"name": name}}
    chance = foreign_chance.of(of_numbers, weights.numbers, splits["train"], classes, known["train"].targets)
    measured["task"] = {
        "classes": classes,
        "examples": {"train": len(splits["train"].targets)},
        "chance_loss": chance.loss if chance_loss is None else chance_loss,
        "chance_accuracy": chance.accuracy,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(weights.numbers)),
        "learning_rate": learning_rate,
    }
    if chance_loss is None and chance.reason:
        missing.append(f"findings that rest on the loss of a constant answer: {chance.reason}")
    measured["curves"] = _curves(history, measured["run"], missing)
    measured |= _of_examples(known, classes, missing)
    if np.isfinite(loss):
        measured["gaps"] = _gaps(of_numbers, weights.numbers, splits, known, apply, params)
        points = {"initial": initial_params, "last": params}
        measured["layers"] = _layers(loss_fn, apply, points, weights, splits["train"], missing)
        measured["curvature"] = _curvature(of_numbers, weights.numbers, splits["train"], seed)
    else:
        measured["run"] |= {"status": "diverged", "message": f"loss_fn gives {loss} at params"}
        missing.append("layers, curvature and gaps: the loss is not finite")
    if train_fn is None:
        missing.append("what needs comparison runs: give train_fn")
    else:
        measured["comparisons"] = _comparisons(train_fn)
    return Diagnosis(judging.of_measurements(measured, missing))


def _first(split: Split) -> Arrays:
    return _rows(split, np.arange(min(_LAYER_SAMPLE, len(split.targets))))


def _curves(history: Any, run: dict[str, Any], missing: list[str]) -> dict[str, Any] | None:
    rows = [] if history is None else inputs.rows_of_history(history)
    if not any({"train_loss", "validation_loss"} & set(row) for row in rows):
        missing.append("the course of the training: give history, with train_loss and validation_loss")
        return None
    if rows and "train_loss" not in rows[-1] and any("train_loss" in row for row in rows):
        run |= {"status": "diverged", "message": "the history ends without a finite training loss"}
    return curves.summary([{"epoch": i + 1, **row} for i, row in enumerate(rows)])


def _gaps(
    loss_fn: Any, numbers: Any, splits: Mapping[str, Split], known: Mapping[str, Split], apply: Any, params: Any
) -> dict[str, Any]:
    """Losses of blocks of examples give an interval where the loss of each is not known."""
    found = {}
    for part, split in splits.items():
        taken = gaps.taken(split, _SAMPLE)
        count = len(taken.targets)
        blocks = np.array_split(np.arange(count), min(20, count))
        losses = [float(loss_fn(numbers, _rows(taken, rows))) for rows in blocks]
        weights = np.array([len(rows) for rows in blocks]) / count
        mean = float(np.dot(losses, weights))
        spread = 1.96 * float(np.std(losses)) / max(len(losses) - 1, 1) ** 0.5
        found[part] = {"examples": count, "loss": mean, "interval": [mean - spread, mean + spread]}
        targets = gaps.taken(known[part], _SAMPLE).targets
        if apply is not None and targets.dtype.kind == "i" and targets.ndim == 1:
            outputs = np.asarray(apply(params, taken.features))
            if outputs.ndim == 2 and outputs.shape[1] > 1:
                accuracy = float((outputs.argmax(axis=1) == targets).mean())
                found[part] |= {"accuracy": accuracy, "accuracy_interval": examples.wilson(accuracy * count, count)}
    return found


def _of_examples(splits: Mapping[str, Split], classes: int | None, missing: list[str]) -> dict[str, Any]:
    train = splits["train"]
    arrays = {part: (split.features, split.targets) for part, split in splits.items()}
    measured: dict[str, Any] = {"features": features.scales(train.features)}
    if measured["features"].get("non_finite"):
        missing.append("labels, leakage and mismatch: some features are not finite")
        return measured
    if train.targets.ndim == 1 and (classes is None or classes > 1):
        measured["labels"] = labels.quality(arrays, classes=classes)
    if len(splits) == 1:
        missing.append("leakage, mismatch and overfitting: give test")
        return measured
    return measured | {"duplicates": duplicates.shares(arrays), "shift": shift.probe(arrays)}


def _layers(
    loss_fn: Any,
    apply: Any,
    points: Mapping[str, Any],
    weights: inputs.Parameters,
    train: Split,
    missing: list[str],
) -> dict[str, Any]:
    def subject(numbers: Any, batch: Any) -> tuple[jax.Array, Any]:
        params = weights.whole(numbers)
        return loss_fn(params, batch), None if apply is None else apply(params, batch[0])

    found = {}
    for when, params in points.items():
        if params is None:
            missing.append("the start of the training: give initial_params")
            continue
        numbers = inputs.parameters_of(params, "initial_params" if when == "initial" else "params").numbers
        if str(jax.tree.structure(numbers)) != str(jax.tree.structure(weights.numbers)):
            raise ValueError(
                "initial_params has another structure than params; give those that the training began from"
            )
        found[when] = layers.measure_function(subject, numbers, _first(train))
    return found


def _curvature(loss_fn: Any, params: Any, train: Split, seed: int) -> dict[str, Any]:
    count = min(_CURVATURE_SAMPLE, len(train.targets) // 2)
    rows = np.random.default_rng(seed).permutation(len(train.targets))
    batch, held_out = (_rows(train, part) for part in (rows[:count], rows[count : 2 * count]))
    point = curvature.Point(loss_fn, params, batch, held_out)
    found = curvature.measure(point, key=jax.random.key(seed))
    return {**found.numbers, "surface": curvature.surface(point, found)}


def _comparisons(train_fn: Callable[..., Any]) -> list[dict[str, Any]]:
    taken, any_name = inputs.keywords_of(train_fn)
    rows = [_compared(train_fn, "same", 0, {})]
    for name, changes in _COMPARISONS:
        if any_name or set(changes) <= taken:
            rows.append(_compared(train_fn, name, int(changes.get("seed", 0)), changes))
    return rows


def _compared(train_fn: Any, name: str, seed: int, changes: Mapping[str, float]) -> dict[str, Any]:
    """One that fails has learned nothing; the others are not lost with it."""
    row = {"name": name, "overrides": dict(changes), "seed": seed, "status": "completed"}
    try:
        found = train_fn(**changes)
    except Exception as error:  # Whatever it may raise.
        if not changes:
            raise ValueError(f"train_fn cannot repeat the training: {error}") from error
        return row | {"status": "diverged", "message": str(error)[:200]}
    losses = inputs.losses_of(found)
    if not np.isfinite(losses).all():
        return row | {"status": "diverged", "message": f"losses of {losses[0]} and {losses[1]}"}
    return row | dict(zip(("train_loss", "validation_loss", "best_validation_loss"), (*losses, losses[1]), strict=True))


def _rows(split: Split, rows: np.ndarray) -> Arrays:
    return jax.tree.map(lambda a: jnp.asarray(a[rows]), split.features), jnp.asarray(split.targets[rows])
