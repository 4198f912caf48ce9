"""The diagnosis of anybody's training in JAX: a loss, parameters and arrays, whatever trained them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.data import Split
from tricks.diagnosis import run_diagnosis
from tricks.diagnosis.measurements import curvature, curves, duplicates, features, gaps, labels, layers, shift

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
        run_diagnosis.write(self.report, path)


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
        params: where the training has come to.
        train: training examples.
        test: of the test.
        validation: held out to stop and to choose by; the test stands in for it where it is missing.
        history: rows with `train_loss` and `validation_loss` of each epoch, or lists by these names.
        apply: `apply(params, features) -> outputs`, of classes a score for each: then accuracies, and labels that a
            trained network contradicts, are judged too.
        initial_params: before the first step.
        train_fn: trains anew and returns the mean losses of training and validation, in evaluation mode. It is called
            with those of these keywords that it has: `seed`, `rate_factor`, `length_factor`, `width_factor`,
            `regularization_factor`, `more_layers`; without any it repeats the training.
        chance_loss: the loss of the best constant answer. By default the entropy of the classes where targets are
            integers, else the variance of the targets: what cross-entropy and mean squared error come to.
        learning_rate: for the report.
        name: for the report.
        seed: of samples and random vectors.

    Returns:
        `Diagnosis`.

    Raises:
        ValueError: the examples have no arrays, or the loss is no finite number.

    >>> x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    >>> y = x @ np.array([1.0, -1.0], np.float32)
    >>> loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    >>> found = diagnose(loss, jnp.array([1.0, -1.0]), (x[:300], y[:300]), (x[300:], y[300:]))
    >>> found.findings[0]["name"]
    'healthy'
    """
    parts = {"train": train, "validation": validation, "test": test}
    splits = {part: _split(part, arrays) for part, arrays in parts.items() if arrays is not None}
    _check_loss(loss_fn, params, splits["train"])
    missing: list[str] = []
    measured: dict[str, Any] = {"run": {"name": name}}
    measured["task"] = _task(splits["train"], params, chance_loss, learning_rate)
    measured["curves"] = _curves(history, missing)
    measured["gaps"] = _gaps(loss_fn, params, splits, apply)
    measured |= _of_examples(splits, missing)
    measured["layers"] = _layers(loss_fn, apply, {"initial": initial_params, "last": params}, splits["train"], missing)
    measured["curvature"] = _curvature(loss_fn, params, splits["train"], seed)
    if train_fn is None:
        missing.append("what needs comparison runs: give train_fn")
    else:
        measured["comparisons"] = _comparisons(train_fn)
    return Diagnosis(run_diagnosis.of_measurements(measured, missing))


def _split(part: str, arrays: Arrays) -> Split:
    if not isinstance(arrays, tuple | list) or len(arrays) != 2:
        raise ValueError(f"{part} is a {type(arrays).__name__}; give a pair of features and targets")
    features, targets = arrays
    host = jax.tree.map(np.asarray, features)
    counts = {len(leaf) for leaf in jax.tree.leaves(host)} | {len(targets)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"{part} has arrays of {sorted(counts)} examples; give features and targets of equally many")
    return Split(host, np.asarray(targets))


def _check_loss(loss_fn: Any, params: Any, train: Split) -> None:
    loss = loss_fn(params, _rows(train, np.arange(min(_LAYER_SAMPLE, len(train.targets)))))
    if not hasattr(loss, "dtype"):
        raise ValueError(
            f"loss_fn gives an {type(loss).__name__}; give a mean loss, a scalar array of floating numbers"
        )
    if loss.shape or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(
            f"loss_fn gives an array of shape {loss.shape} and {loss.dtype}; give a mean loss, a floating scalar"
        )
    if not bool(jnp.isfinite(loss)):
        raise ValueError(f"loss_fn gives {loss} at params; give parameters from before it was so")


def _is_classes(targets: np.ndarray) -> bool:
    return targets.dtype.kind in "iub"


def _task(train: Split, params: Any, chance_loss: float | None, learning_rate: float | None) -> dict[str, Any]:
    classes = len(np.unique(train.targets)) if _is_classes(train.targets) and train.targets.ndim == 1 else None
    chance, accuracy = chance_loss, None
    if classes:
        shares = np.unique(train.targets, return_counts=True)[1] / len(train.targets)
        accuracy = float(shares.max())
        chance = chance if chance is not None else float(-(shares * np.log(shares)).sum())
    elif chance is None and train.targets.dtype.kind == "f":
        chance = float(train.targets.var(axis=0).mean())
    return {
        "classes": classes,
        "examples": {"train": len(train.targets)},
        "chance_loss": chance or None,
        "chance_accuracy": accuracy,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "learning_rate": learning_rate,
    }


def _curves(history: Any, missing: list[str]) -> dict[str, Any] | None:
    if history is None:
        missing.append("the course of the training: give history")
        return None
    if isinstance(history, Mapping):
        length = max((len(column) for column in history.values()), default=0)
        history = [{name: column[i] for name, column in history.items() if i < len(column)} for i in range(length)]
    if isinstance(history, str) or not all(isinstance(row, Mapping) for row in history):
        raise ValueError("history is no list of rows; give one with train_loss and validation_loss for each epoch")
    rows = [{name: float(value) for name, value in row.items()} for row in history]
    return curves.summary([{"epoch": i + 1, **row} for i, row in enumerate(rows)])


def _gaps(loss_fn: Any, params: Any, splits: Mapping[str, Split], apply: Any) -> dict[str, Any]:
    """Losses of blocks of examples give an interval where the loss of each is not known."""
    found = {}
    for part, split in splits.items():
        taken = gaps.taken(split, _SAMPLE)
        count = len(taken.targets)
        blocks = np.array_split(np.arange(count), min(20, count))
        losses = [float(loss_fn(params, _rows(taken, rows))) for rows in blocks]
        weights = np.array([len(rows) for rows in blocks]) / count
        mean = float(np.dot(losses, weights))
        spread = 1.96 * float(np.std(losses)) / max(len(losses) - 1, 1) ** 0.5
        found[part] = {"examples": count, "loss": mean, "interval": [mean - spread, mean + spread]}
        if apply is not None and _is_classes(taken.targets) and taken.targets.ndim == 1:
            outputs = np.asarray(apply(params, taken.features))
            if outputs.ndim == 2 and outputs.shape[1] > 1:
                accuracy = float((outputs.argmax(axis=1) == taken.targets).mean())
                found[part] |= {"accuracy": accuracy, "accuracy_interval": gaps.wilson(accuracy, count)}
    if "validation" not in found and "test" in found:
        found["validation"] = found["test"]
    return found


def _of_examples(splits: Mapping[str, Split], missing: list[str]) -> dict[str, Any]:
    train = splits["train"]
    arrays = {part: (split.features, split.targets) for part, split in splits.items()}
    measured: dict[str, Any] = {"features": features.scales(train.features)}
    if train.targets.ndim == 1:
        measured["labels"] = labels.quality(arrays)
    if len(splits) == 1:
        missing.append("leakage, mismatch and overfitting: give test")
        return measured
    return measured | {"duplicates": duplicates.shares(arrays), "shift": shift.probe(arrays)}


def _layers(loss_fn: Any, apply: Any, points: Mapping[str, Any], train: Split, missing: list[str]) -> dict[str, Any]:
    batch = _rows(train, np.arange(min(_LAYER_SAMPLE, len(train.targets))))

    def subject(params: Any, batch: Any) -> tuple[jax.Array, Any]:
        return loss_fn(params, batch), None if apply is None else apply(params, batch[0])

    if points["initial"] is None:
        missing.append("the start of the training: give initial_params")
    return {
        when: layers.measure_function(subject, params, batch) for when, params in points.items() if params is not None
    }


def _curvature(loss_fn: Any, params: Any, train: Split, seed: int) -> dict[str, Any]:
    count = min(_CURVATURE_SAMPLE, len(train.targets) // 2)
    rows = np.random.default_rng(seed).permutation(len(train.targets))
    batch, held_out = (_rows(train, part) for part in (rows[:count], rows[count : 2 * count]))
    point = curvature.Point(loss_fn, params, batch, held_out)
    found = curvature.measure(point, key=jax.random.key(seed))
    return {**found.numbers, "surface": curvature.surface(point, found)}


def _comparisons(train_fn: Callable[..., tuple[float, float]]) -> list[dict[str, Any]]:
    taken = inspect.signature(train_fn).parameters
    any_name = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
    rows = [_compared(train_fn, "same", 0, {})]
    for name, changes in _COMPARISONS:
        if any_name or set(changes) <= set(taken):
            rows.append(_compared(train_fn, name, int(changes.get("seed", 0)), changes))
    return rows


def _compared(train_fn: Any, name: str, seed: int, changes: Mapping[str, float]) -> dict[str, Any]:
    train, validation = (float(loss) for loss in train_fn(**changes))
    finite = bool(np.isfinite(train) and np.isfinite(validation))
    row = {"name": name, "overrides": dict(changes), "seed": seed, "status": "completed" if finite else "diverged"}
    losses = (train, validation) if finite else (None, None)
    return row | dict(zip(("train_loss", "validation_loss", "best_validation_loss"), (*losses, losses[1]), strict=True))


def _rows(split: Split, rows: np.ndarray) -> Arrays:
    return jax.tree.map(lambda a: jnp.asarray(a[rows]), split.features), jnp.asarray(split.targets[rows])
