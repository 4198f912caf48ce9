"""The diagnosis of a run directory: measures, compares, and says what was found."""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from scipy.special import softmax

from tricks import streams
from tricks.diagnosis import replay, subject
from tricks.diagnosis.measurements import (
    curvature,
    curves,
    duplicates,
    features,
    gaps,
    history,
    labels,
    layers,
    origin,
    shift,
)
from tricks.diagnosis.measurements import descent as descents
from tricks.diagnosis.measurements.gaps import Answers
from tricks.diagnosis.subject import Subject
from tricks.losses import Batch
from tricks.models import Network
from tricks.training import records
from tricks.training.programs import run_once
from tricks.training.state import Weights

_PARTS = ("train", "validation", "test")
_SAMPLE = 2000
_CURVATURE_SAMPLE = 1000
_LAYER_SAMPLE = 500


def measure(
    run: Subject,
    *,
    fast: bool = False,
    told: Callable[[str], None] = lambda what: None,
) -> tuple[dict[str, Any], list[str]]:
    """Makes all measurements of a run by itself.

    Args:
        run: as `subject.read` reads it.
        fast: do not take its steps again to look at the layers on the way.
        told: of what is measured next.

    Returns:
        The measurements by topic, and what could not be judged, in sentences.
    """
    missing = list(run.missing)
    measured: dict[str, Any] = {"run": subject.fields_of(run)}
    told("curves")
    measured["curves"] = curves.measure(run.records)
    if measured["curves"] is None:
        missing.append(f"the course of the training: there is no {records.FILE}")
    told("answers")
    network = run.network
    splits = {part: gaps.taken(getattr(run.data, part), _SAMPLE) for part in _PARTS}
    start = jax.jit(network.init, compiler_options=run_once(run.static.mesh))
    initial = Weights(*start(streams.training_keys(jax.random.key(run.config.seed)).initialization))
    found: dict[str, Answers] = {}
    if run.last is not None:
        found = gaps.answers(network, run.static.loss, run.last, splits)
        measured["gaps"] = gaps.measure(found)
        if run.best is not None:
            measured["gaps"]["best"] = gaps.measure(gaps.answers(network, run.static.loss, run.best, splits))
        measured["recall"] = _recall(run, found, splits)
    measured["task"] = _task(run, initial)
    with ThreadPoolExecutor(1) as beside:
        # One core compiles while the other looks at the examples.
        point = beside.submit(_curvature, run) if run.last is not None else None
        told("examples")
        measured |= _of_examples(run, found)
        told("layers")
        measured["layers"] = _layers(run, network, initial, fast=fast)
        if point is not None:
            told("curvature")
            measured["curvature"] = point.result()
    if run.status == "diverged":
        told("where it began")
        measured["origin"] = _origin(run)
    return measured, missing


def _task(run: Subject, initial: Weights) -> dict[str, Any]:
    train = gaps.taken(run.data.train, _SAMPLE)
    features = jax.tree.leaves(train.features)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((len(train.targets), *a.shape[1:]), a.dtype), train.features)
    outputs, _ = jax.eval_shape(
        functools.partial(run.network.apply, rng=None), initial.params, initial.model_state, batch
    )
    constant = gaps.of_constant(run.static.loss, train.targets, outputs) or {}
    return {
        "classes": run.data.classes,
        "examples": {part: len(getattr(run.data, part).targets) for part in ("train", "validation", "test")},
        "features": sum(int(np.prod(leaf.shape[1:])) for leaf in features),
        "chance_loss": constant.get("loss"),
        "chance_accuracy": constant.get("accuracy"),
        "loss": run.config.loss.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(initial.params)),
        "batch_size": run.config.data.batch_size,
        "learning_rate": run.config.optimizer.learning_rate,
        "optimizer": run.config.optimizer.name,
    }


def _recall(run: Subject, found: Mapping[str, Answers], splits: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of each class, the share of its held-out examples that are told right."""
    if not run.data.classes or "accuracy" not in found["validation"].measures:
        return None
    targets = np.concatenate([splits[part].targets for part in ("validation", "test")])
    right = np.concatenate([found[part].measures["accuracy"] for part in ("validation", "test")])
    if targets.ndim != 1:
        return None
    of_class = {int(c): float(right[targets == c].mean()) for c in np.unique(targets)}
    return {"classes": of_class, "mean": float(np.mean([*of_class.values()])), "accuracy": float(right.mean())}


def _layers(run: Subject, network: Network, initial: Weights, *, fast: bool) -> dict[str, Any]:
    batch = Batch(*gaps.taken(run.data.train, _LAYER_SAMPLE))
    points = {"initial": initial, "last": run.last}
    found: dict[str, Any] = {
        name: layers.measure(network.apply, run.static.loss, weights, batch)
        for name, weights in points.items()
        if weights is not None
    }
    # Those that the run itself looked at, where it did.
    logged = history.of_records(run.records)
    if logged or fast:
        return found | {"history": logged or None}
    return found | _replayed(run, batch)


def _of_examples(run: Subject, found: Mapping[str, Answers]) -> dict[str, Any]:
    data = run.data
    splits = {part: (split.features, split.targets) for part in _PARTS for split in [getattr(data, part)]}
    predictions = None
    if run.config.loss.name == "cross_entropy" and data.classes and data.train.targets.ndim == 1 and found:
        whole = [part for part in ("validation", "test") if len(getattr(data, part).targets) <= _SAMPLE]
        predictions = {part: softmax(found[part].outputs, axis=-1) for part in whole}
    measured = {
        "features": features.scales(data.train.features, data.columns),
        "duplicates": duplicates.shares(splits),
        "shift": shift.probe(splits, data.columns),
    }
    if data.train.targets.ndim == 1 and data.classes != 1:
        measured["labels"] = labels.quality(splits, classes=data.classes, predictions=predictions)
    return measured


def _replayed(run: Subject, batch: Batch) -> dict[str, Any]:
    """The layers over the steps of the run, or over the first of them."""
    last = max((r.step for r in run.records), default=0)
    whole = last // run.rules.steps_per_epoch * run.rules.steps_per_epoch
    if whole == 0:
        return {"history": None}
    seen = history.measure(run.replay, batch, last_step=whole, seconds=5.0)
    return {"history": seen["history"], "between_steps": seen["between_steps"]}


def _origin(run: Subject) -> dict[str, Any] | None:
    """Where a value was first not finite: the steps since the newest checkpoint are taken again."""
    state = replay.initial(run.replay).train if run.train is None else run.train
    step = int(state.step)
    within = step % run.rules.steps_per_epoch
    if within:
        # Chunks begin at the edges of an epoch's plan; an interrupted run saved between them.
        return None
    chunks = run.replay.chunks(step, run.rules.total_steps)
    return origin.find(run.static, run.replay.hyper, state, chunks, run.rules, seconds=20.0)


def _curvature(run: Subject) -> dict[str, Any]:
    count = min(_CURVATURE_SAMPLE, len(run.data.train.targets) // 2)
    rows = streams.sample(run.config.seed, "spectrum").permutation(len(run.data.train.targets))
    samples = [
        Batch(jax.tree.map(lambda a, rows=rows: a[rows], run.data.train.features), run.data.train.targets[rows])
        for rows in (rows[:count], rows[count : 2 * count])
    ]
    assert run.last is not None
    point = curvature.point_of(run.network.apply, run.static.loss, run.last, *samples)
    assert run.train is not None
    descent = descents.descent_of(run.static, run.replay.hyper, run.train)
    found = curvature.measure(point, descent=descent, key=streams.vectors(run.config.seed, "spectrum"))
    return {**found.numbers, "surface": curvature.surface(point, found)}
