"""What the fields of a config may hold."""

import typing
from collections.abc import Callable
from typing import Any

from tricks.config import PERCEPTRON, PLACEMENTS, PRECISIONS, STATISTICS, STORAGES, Config, DataConfig, Option, leaves
from tricks.errors import UserError

__all__ = ["validate"]


def validate(config: Any) -> None:
    """Refuses a config with a field that does not exist, has the wrong type or is out of range.

    Args:
        config: what a config file's `get_config()` returned, with its overrides.

    Raises:
        UserError: names the field, its value and what is allowed.

    >>> config = Config()
    >>> config.model.dropout = 1.0
    >>> validate(config)
    Traceback (most recent call last):
    tricks.errors.UserError: model.dropout is 1.0; allowed: 0 <= value < 1, up to 0.99999994
    """
    if not isinstance(config, Config):
        raise UserError(f"get_config() returned {type(config).__name__}; it must return a tricks.config.Config")
    for path, value, kind in leaves(config):
        if not _has_type(value, kind):
            raise UserError(f"{path} is {_shown(value)}; it must be of type {_type_name(kind)}")
        if path in _CHOICES and value not in _CHOICES[path]:
            raise UserError(f"{path} is {value!r}; allowed: {', '.join(_CHOICES[path])}")
        if path in _RANGES:
            inside, allowed = _RANGES[path]
            if not inside(value):
                raise UserError(f"{path} is {_shown(value)}; allowed: {allowed}")
    _validate_together(config)


def _validate_together(config: Config) -> None:
    _validate_storage(config.data)
    rate, end = config.optimizer.learning_rate, config.schedule.end_value
    if config.schedule.shape == "exponential" and end == 0:
        raise UserError(
            "schedule.end_value is 0.0; an exponential decay never reaches 0: "
            f"give a rate above 0, such as {rate / 100:g}"
        )
    if end > rate:
        raise UserError(f"schedule.end_value is {end:g}; allowed: 0 <= value <= optimizer.learning_rate ({rate:g})")
    if config.model.build == PERCEPTRON and config.model.batch_norm and config.data.batch_size == 1:
        raise UserError(
            "data.batch_size is 1; batch normalization needs 2 or more: choose more, or model.batch_norm=false"
        )


def _validate_storage(data: DataConfig) -> None:
    if data.storage == "disk" and data.placement == "device":
        raise UserError("data.placement is 'device', but data.storage is 'disk'; allowed: auto or host")
    if data.storage == "memory" and data.shuffle_window != DataConfig.shuffle_window:
        raise UserError(
            f"data.shuffle_window is {data.shuffle_window}, but data.storage is 'memory', where all examples are "
            f"shuffled together: leave it at {DataConfig.shuffle_window}, or choose data.storage=disk"
        )


_Check = tuple[Callable[[Any], bool], str]
# What float32 and int32 hold: a smaller number would be 0 there, and a larger one infinite or another.
_SMALLEST, _LARGEST, _LARGEST_INTEGER = 1.2e-38, 3.4e38, 2**31 - 1
_POSITIVE: _Check = (lambda v: _SMALLEST <= v <= _LARGEST, f"a value > 0, from {_SMALLEST} to {_LARGEST}")
_NOT_NEGATIVE: _Check = (lambda v: 0 <= v <= _LARGEST, f"a value >= 0, up to {_LARGEST}")
_FRACTION: _Check = (lambda v: 0 <= v < 1 - 2**-25, "0 <= value < 1, up to 0.99999994")  # More is 1 in float32.
_AT_LEAST_1: _Check = (lambda v: 1 <= v <= _LARGEST_INTEGER, f"an integer from 1 to {_LARGEST_INTEGER}")
_AT_LEAST_0: _Check = (lambda v: 0 <= v <= _LARGEST_INTEGER, f"an integer from 0 to {_LARGEST_INTEGER}")

_CHOICES: dict[str, tuple[str, ...]] = {
    "data.task": ("auto", "classes", "numbers"),
    "data.missing": ("refuse", "mean", "median", "zero"),
    "data.normalization": ("feature", "channel", "none"),
    "data.stratify": ("auto", "yes", "no"),
    "data.placement": PLACEMENTS,
    "data.storage": STORAGES,
    "early_stopping.mode": ("auto", "min", "max"),
    "escape.statistics": STATISTICS,
    "precision.compute": PRECISIONS,
}
_RANGES: dict[str, _Check] = {
    "seed": (lambda v: 0 <= v < 2**31, "an integer from 0 to 2147483647"),
    "data.name": (lambda v: v != "", "the name of a data set"),
    "data.batch_size": _AT_LEAST_1,
    "data.shuffle_window": _AT_LEAST_1,
    "data.validation_fraction": (lambda v: 0 < v < 1, "0 < value < 1"),
    "data.test_fraction": (lambda v: 0 < v < 1, "0 < value < 1"),
    "data.label_noise": (lambda v: 0 <= v <= 1, "0 <= value <= 1"),
    "data.train_fraction": (lambda v: 0 < v <= 1, "0 < value <= 1"),
    "data.augment.shift": _NOT_NEGATIVE,
    "data.augment.rotation": _NOT_NEGATIVE,
    "data.augment.scale": _FRACTION,
    "data.augment.cutout": _AT_LEAST_0,
    "data.augment.noise": _NOT_NEGATIVE,
    "data.augment.feature_dropout": _FRACTION,
    "data.augment.mixup": _NOT_NEGATIVE,
    "loss.outputs": _AT_LEAST_0,
    "model.hidden_sizes": (
        lambda v: all(1 <= size <= _LARGEST_INTEGER for size in v),
        f"integers from 1 to {_LARGEST_INTEGER}, such as 512,512",
    ),
    "model.batch_norm_momentum": _FRACTION,
    "model.dropout": _FRACTION,
    "model.noise": _NOT_NEGATIVE,
    "model.input_noise": _NOT_NEGATIVE,
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.momentum": _FRACTION,
    "optimizer.second_moment_decay": _FRACTION,
    "optimizer.epsilon": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.l1": _NOT_NEGATIVE,
    "optimizer.l2": _NOT_NEGATIVE,
    "schedule.warmup_steps": _AT_LEAST_0,
    "schedule.end_value": _NOT_NEGATIVE,
    "train.epochs": _AT_LEAST_1,
    "train.chunk_steps": _AT_LEAST_1,
    "early_stopping.patience": _AT_LEAST_0,
    "early_stopping.min_delta": (lambda v: 0 <= v < 1e30, "0 <= value < 1e30"),
    "checkpoint.every_epochs": _AT_LEAST_1,
    "curvature.every_epochs": _AT_LEAST_0,
    "curvature.examples": _AT_LEAST_1,
    "diagnosis.every_epochs": _AT_LEAST_0,
    "escape.window": (lambda v: 1 <= v <= 2**30, "an integer from 1 to 1073741824"),
    "escape.min_improvement": _NOT_NEGATIVE,
    "escape.cooldown": (lambda v: 0 <= v <= 2**30, "an integer from 0 to 1073741824"),
    "escape.share": (lambda v: 0 <= v <= 1, "0 <= value <= 1"),
    "escape.examples": _AT_LEAST_1,
    "escape.max_products": (lambda v: 3 <= v <= 2**30, "an integer from 3 to 1073741824"),
    "escape.basis_size": (lambda v: 5 <= v <= _LARGEST_INTEGER, f"an integer from 5 to {_LARGEST_INTEGER}"),
    "escape.min_decrease": _FRACTION,
    "mesh.data": _AT_LEAST_0,
    "mesh.model": _AT_LEAST_1,
}


def _has_type(value: Any, kind: Any) -> bool:
    if kind is Option:
        if isinstance(value, tuple):
            return all(_has_type(element, Option) for element in value)
        return value is None or isinstance(value, bool | int | float | str)
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        return isinstance(value, tuple) and all(_has_type(v, element) for v in value)
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits.
        return "an integer of thousands of digits"


def _type_name(kind: Any) -> str:
    if kind is Option:
        return "bool, int, float, str, tuple or None"
    return "integers, such as 512,512" if typing.get_origin(kind) is tuple else kind.__name__
