"""Which comparison runs a training calls for: each changes one thing that may be what is wrong."""

import itertools
import math
from typing import Any, NamedTuple

from tricks.config import PERCEPTRON, Config

_EVERYWHERE: dict[str, Any] = {
    "escape.enabled": False,
    "curvature.every_epochs": 0,
    "diagnosis.every_epochs": 0,
    "early_stopping.patience": 0,
    "data.placement": "auto",
    "mesh.data": 0,
    "mesh.model": 1,
}
_SATURATING = ("tanh", "sigmoid")
_WIDEST = 1024
_SUBSET = 64  # Examples that any healthy training memorizes.
_SUBSET_STEPS = 600
_REGULARIZERS = {
    "model.dropout": 0.0,
    "model.noise": 0.0,
    "model.input_noise": 0.0,
    "optimizer.l1": 0.0,
    "optimizer.l2": 0.0,
    "data.augment.shift": 0.0,
    "data.augment.rotation": 0.0,
    "data.augment.scale": 0.0,
    "data.augment.cutout": 0,
    "data.augment.noise": 0.0,
    "data.augment.feature_dropout": 0.0,
    "data.augment.mixup": 0.0,
}

SHARES = {"half of the examples": 0.5, "a quarter of the examples": 0.25}
"""Nested parts of the training examples, each within the larger one."""


class Comparison(NamedTuple):
    """One thing that is changed."""

    name: str
    changes: dict[str, Any]
    """Fields with their values."""
    seeds: int = 1
    """That of the run, and those that follow it."""
    cost: float = 1.0
    """Of an epoch, in those of the run."""


def wanted(
    config: Config,
    *,
    train_examples: int,
    features: int,
    epochs: int,
    plain_features: bool,
    overfits: bool = False,
    diverged: bool = False,
) -> list[Comparison]:
    """The comparisons that the tree of decisions asks for.

    Args:
        config: of the run.
        train_examples: that it had.
        features: of an example.
        epochs: that each trains for.
        plain_features: whether the built-in perceptron takes them.
        overfits: whether validation lags behind training, so that it is asked what more examples would bring.
        diverged: whether the run did: then rates are tried that are smaller still, and none that are larger.

    Returns:
        `same` first, then one change each.

    >>> found = wanted(Config(), train_examples=1294, features=64, epochs=20, plain_features=True)
    >>> [one.name for one in found][:4]
    ['same', 'rate / 10', 'rate / 100', 'rate x 10']
    """
    everywhere = _EVERYWHERE | {"train.epochs": epochs}
    found = [
        Comparison("same", {}, seeds=4),
        *(
            _rate(config, factor)
            for factor in (tuple(10.0**-n for n in range(1, 8)) if diverged else (0.1, 0.01, 10.0, 100.0))
        ),
        *([] if diverged else [Comparison("longer", {"train.epochs": 4 * epochs}, cost=4.0)]),
        *_unregularized(config),
        *(_networks(config, features) if plain_features else _own_network(config)),
        *_conditioned(config),
        *_batches(config, train_examples),
        *_subset(config, train_examples),
        *(_shares(config, train_examples) if overfits else []),
    ]
    return [one._replace(changes=everywhere | one.changes) for one in found]


def _rate(config: Config, factor: float) -> Comparison:
    name = f"rate x {factor:g}" if factor > 1 else f"rate / {1 / factor:.0f}"
    rates = {"optimizer.learning_rate": config.optimizer.learning_rate, "schedule.end_value": config.schedule.end_value}
    # As a person would write them.
    return Comparison(name, {field: float(f"{factor * rate:.6g}") for field, rate in rates.items() if rate})


def _unregularized(config: Config) -> list[Comparison]:
    changes: dict[str, Any] = {field: off for field, off in _REGULARIZERS.items() if _value(config, field) != off}
    if config.optimizer.name in ("adamw", "lamb") and config.optimizer.weight_decay:
        changes["optimizer.weight_decay"] = 0.0
    if config.data.augment.function:
        changes["data.augment.function"] = ""
    return [Comparison("unregularized", changes, seeds=2)] if changes else []


def _networks(config: Config, features: int) -> list[Comparison]:
    hidden = config.model.hidden_sizes
    if config.model.build != PERCEPTRON:
        other: dict[str, Any] = {"model.build": PERCEPTRON, "model.options": None}
        return [
            *_own_network(config),
            Comparison("perceptron", {**other, "model.hidden_sizes": (256, 256)}, cost=_cost((256, 256), features, ())),
            Comparison("linear", {**other, "model.hidden_sizes": ()}),
        ]
    wide = tuple(min(max(4 * size, 128), max(_WIDEST, size)) for size in hidden) or (128,)
    deep = (*hidden, *(max(hidden, default=128),) * (2 if len(hidden) < 4 else 0))
    deeper = tuple(max(size, 64) for size in deep) if hidden else (128, 128)
    found = [("wider", wide), ("deeper", deeper)]
    if len(hidden) > 1:
        found.append(("shallower", hidden[:1]))
    if hidden:
        found.append(("linear", ()))
    return [
        Comparison(name, {"model.hidden_sizes": sizes}, cost=_cost(sizes, features, hidden))
        for name, sizes in found
        if sizes != hidden
    ]


def _own_network(config: Config) -> list[Comparison]:
    """Four times of whatever option is a number of units by its name."""
    words = ("width", "hidden", "units", "channels", "size", "features")
    options = {
        name: value
        for name, value in config.model.options.items()
        if type(value) is int and any(word in name for word in words) and "kernel" not in name
    }
    changes = {f"model.options.{name}": 4 * value for name, value in options.items()}
    return [Comparison("wider", changes, cost=8.0)] if changes else []


def _conditioned(config: Config) -> list[Comparison]:
    found = []
    model = config.model
    if config.data.normalization == "none":
        found.append(Comparison("normalized features", {"data.normalization": "feature"}))
    if config.loss.name == "softmax_squared_error":
        found.append(Comparison("cross entropy", {"loss.name": "cross_entropy"}))
    if model.build != PERCEPTRON or not model.hidden_sizes:
        return found
    initializer = "glorot" if model.activation in _SATURATING else "he"
    if model.initializer not in ("he", "glorot"):
        found.append(Comparison("drawn weights", {"model.initializer": initializer}, seeds=2))
    if not model.batch_norm:
        found.append(Comparison("batch normalization", {"model.batch_norm": True}))
    if model.activation in _SATURATING:
        found.append(Comparison("relu", {"model.activation": "relu", "model.initializer": "he"}))
    return found


def _batches(config: Config, train_examples: int) -> list[Comparison]:
    size = config.data.batch_size
    if size < 64 and size < train_examples / 16:
        return []
    return [Comparison("smaller batches", {"data.batch_size": max(min(size // 8, 64), 8)}, cost=4.0)]


def _subset(config: Config, train_examples: int) -> list[Comparison]:
    if train_examples <= 2 * _SUBSET:
        return []
    batch = min(config.data.batch_size, 32)
    steps = math.floor(_SUBSET / batch)
    off = {field: value for field, value in _REGULARIZERS.items() if _value(config, field) != value}
    return [
        Comparison(
            "subset",
            {
                **off,
                "data.train_fraction": config.data.train_fraction * (_SUBSET + 0.5) / train_examples,
                "data.batch_size": batch,
                "train.epochs": max(_SUBSET_STEPS // max(steps, 1), 1),
            },
            cost=_SUBSET / train_examples,
        )
    ]


def _shares(config: Config, train_examples: int) -> list[Comparison]:
    fraction = config.data.train_fraction
    return [
        Comparison(name, {"data.train_fraction": fraction * share}, cost=share)
        for name, share in SHARES.items()
        if train_examples * share >= max(config.data.batch_size, 16)
    ]


def _cost(sizes: tuple[int, ...], features: int, base: tuple[int, ...]) -> float:
    return max(_weights(sizes, features) / max(_weights(base, features), 30_000), 1.0)


def _weights(sizes: tuple[int, ...], features: int) -> int:
    chain = (features, *sizes, 10)
    return sum(a * b for a, b in itertools.pairwise(chain))


def _value(config: Config, field: str) -> Any:
    value: Any = config
    for part in field.split("."):
        value = getattr(value, part)
    return value
