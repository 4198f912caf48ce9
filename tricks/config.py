"""The fields of an experiment, their defaults, and what each may hold.

A file in `configs/` returns a `Config` from `get_config()`; every field can be overridden with `--config.FIELD=VALUE`.
"""

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tricks.errors import UserError

__all__ = [
    "PLACEMENTS",
    "STATISTICS",
    "CheckpointConfig",
    "Config",
    "CurvatureConfig",
    "DataConfig",
    "EarlyStoppingConfig",
    "EscapeConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "TrainConfig",
    "flatten",
    "unflatten",
    "validate",
]

STATISTICS = ("running", "batch")
PLACEMENTS = ("auto", "device", "host")


@dataclasses.dataclass
class DataConfig:
    """What is learned from."""

    name: str = "digits"
    """`digits`, `breast_cancer`, `diabetes`, or any classification set of TensorFlow Datasets that was prepared."""
    batch_size: int = 32
    validation_fraction: float = 0.1
    """Share of the training examples that is held out for validation, drawn with the seed."""
    directory: str = ""
    """Where prepared sets lie; empty for `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    placement: str = "auto"
    """Keep the training set on the `device`, stream it from the `host`, or decide by its size (`auto`)."""


@dataclasses.dataclass
class ModelConfig:
    """The multilayer perceptron."""

    hidden_sizes: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    batch_norm: bool = True
    batch_norm_momentum: float = 0.9
    """p of the moving averages: mean <- p mean + (1 - p) batch mean."""
    dropout: float = 0.0
    """Probability that a hidden unit is dropped."""
    noise: float = 0.0
    """Standard deviation of what is added in training to the input of every activation."""
    input_noise: float = 0.0
    """Likewise, to every feature."""
    initializer: str = "he"


@dataclasses.dataclass
class LossConfig:
    """What is minimized."""

    name: str = "cross_entropy"


@dataclasses.dataclass
class OptimizerConfig:
    """How the gradient becomes an update."""

    name: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    """Decay of the gradient average: lambda of momentum, beta1 of Adam, AdamW and LAMB."""
    second_moment_decay: float = 0.999
    """Decay of the squared-gradient average: alpha of RMSProp, beta2 of Adam, AdamW and LAMB."""
    epsilon: float = 1e-8
    nesterov: bool = False
    weight_decay: float = 0.01
    """Of AdamW and LAMB: strength of the decay that does not pass through their averages."""
    l1: float = 0.0
    """Adds l1 * sign(w) to the gradient of every weight; biases and normalization are left alone."""
    l2: float = 0.0
    """Adds l2 * w to the gradient of every weight; biases and normalization are left alone."""


@dataclasses.dataclass
class ScheduleConfig:
    """How the learning rate moves from step to step."""

    shape: str = "constant"
    warmup_steps: int = 0
    end_value: float = 0.0
    """The rate that the decay ends at, in the units of `optimizer.learning_rate`."""


@dataclasses.dataclass
class TrainConfig:
    """How long, and in what portions."""

    epochs: int = 20
    chunk_steps: int = 100
    """Most steps in one dispatch; progress, interruption and the finite check happen between dispatches."""


@dataclasses.dataclass
class EarlyStoppingConfig:
    """When to stop, and which weights are the best."""

    metric: str = "loss"
    patience: int = 0
    """Stop after this many epochs in a row without improvement; 0 never stops."""
    min_delta: float = 0.0
    """An improvement must be larger than this to count."""


@dataclasses.dataclass
class CheckpointConfig:
    """How often the state is written."""

    every_epochs: int = 1


@dataclasses.dataclass
class CurvatureConfig:
    """How often the Hessian of the training loss is looked at."""

    every_epochs: int = 0
    """Log its smallest and largest eigenvalue, trace and minimum ratio every so many epochs; 0 never does."""
    examples: int = 1000
    """Training examples that it is taken over, always the same."""


@dataclasses.dataclass
class EscapeConfig:
    """Leaving saddles by Hessian-vector products, where the training loss stands still."""

    enabled: bool = False
    window: int = 100
    """Steps whose losses are averaged."""
    min_improvement: float = 0.01
    """Share of the loss by which a window must be lower than the one before, not to count as a plateau."""
    cooldown: int = 100
    """Steps between checks, doubled by every one that found no way."""
    share: float = 0.05
    """Of the work of all gradients so far, what checks after the first may take."""
    examples: int = 1000
    """Training examples in each of two disjoint samples: one to look for curvature, one to confirm it."""
    statistics: str = "running"
    """Of batch normalization in a check: `running`, or `batch` for those of the sample."""
    max_products: int = 120
    """Hessian-vector products of a check, at most."""
    basis_size: int = 40
    """Vectors of the size of the parameters that a check holds, at most."""
    min_decrease: float = 0.01
    """Share of the loss by which an escape must lower it, on both samples."""
    noise: bool = False
    """Where derivatives vanish, add the most Gaussian noise that raises the loss by 1 %."""


@dataclasses.dataclass
class Config:
    """One experiment."""

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    curvature: CurvatureConfig = dataclasses.field(default_factory=CurvatureConfig)
    escape: EscapeConfig = dataclasses.field(default_factory=EscapeConfig)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Maps every field's dotted path to its value.

    >>> flatten(Config())["optimizer.name"]
    'adam'
    """
    return {path: value for path, value, _ in _leaves(config, prefix)}


def unflatten(fields: Mapping[str, Any]) -> Config:
    """The config whose fields `flatten` gave; those that are missing have their defaults.

    Args:
        fields: a value for each dotted path, lists for tuples, as JSON keeps them.

    Returns:
        A config, not validated.

    Raises:
        UserError: a path is no field.

    >>> unflatten({"model.hidden_sizes": [64, 64]}).model.hidden_sizes
    (64, 64)
    """
    config = Config()
    known = flatten(config)
    for path, value in fields.items():
        if path not in known:
            raise UserError(f"{path} is no field of the config; it was written by another version")
        *parents, name = path.split(".")
        owner = config
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, tuple(value) if isinstance(value, list) else value)
    return config


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
    for path, value, kind in _leaves(config):
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
    rate, end = config.optimizer.learning_rate, config.schedule.end_value
    if config.schedule.shape == "exponential" and end == 0:
        raise UserError(
            "schedule.end_value is 0.0; an exponential decay never reaches 0: "
            f"give a rate above 0, such as {rate / 100:g}"
        )
    if end > rate:
        raise UserError(f"schedule.end_value is {end:g}; allowed: 0 <= value <= optimizer.learning_rate ({rate:g})")
    if config.model.batch_norm and config.data.batch_size == 1:
        raise UserError(
            "data.batch_size is 1; batch normalization needs 2 or more: choose more, or model.batch_norm=false"
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
    "data.placement": PLACEMENTS,
    "escape.statistics": STATISTICS,
}
_RANGES: dict[str, _Check] = {
    "seed": (lambda v: 0 <= v < 2**31, "an integer from 0 to 2147483647"),
    "data.name": (lambda v: v != "", "the name of a data set"),
    "data.batch_size": _AT_LEAST_1,
    "data.validation_fraction": (lambda v: 0 < v < 1, "0 < value < 1"),
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
    "escape.window": (lambda v: 1 <= v <= 2**30, "an integer from 1 to 1073741824"),
    "escape.min_improvement": _NOT_NEGATIVE,
    "escape.cooldown": (lambda v: 0 <= v <= 2**30, "an integer from 0 to 1073741824"),
    "escape.share": (lambda v: 0 <= v <= 1, "0 <= value <= 1"),
    "escape.examples": _AT_LEAST_1,
    "escape.max_products": (lambda v: 3 <= v <= 2**30, "an integer from 3 to 1073741824"),
    "escape.basis_size": (lambda v: 5 <= v <= _LARGEST_INTEGER, f"an integer from 5 to {_LARGEST_INTEGER}"),
    "escape.min_decrease": _FRACTION,
}


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    kinds = typing.get_type_hints(type(config))
    for name in vars(config):
        if name not in kinds:
            raise UserError(f"{prefix}{name} is no field of the config; fields here: {', '.join(kinds)}")
    for name, kind in kinds.items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, typing.cast(type, kind)):
                raise UserError(f"{prefix}{name} is {value!r}; it must be a {_type_name(kind)}")
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, kind


def _has_type(value: Any, kind: Any) -> bool:
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
    return "integers, such as 512,512" if typing.get_origin(kind) is tuple else kind.__name__
