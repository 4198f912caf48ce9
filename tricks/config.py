"""The fields of an experiment, their defaults, and what each may hold.

A file in `configs/` returns a `Config` from `get_config()`; every field can be overridden with `--config.FIELD=VALUE`.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from tricks.errors import UserError

__all__ = [
    "OPTIONS",
    "PERCEPTRON",
    "PLACEMENTS",
    "PRECISIONS",
    "STATISTICS",
    "STORAGES",
    "AugmentConfig",
    "CheckpointConfig",
    "Config",
    "CurvatureConfig",
    "DataConfig",
    "DiagnosisConfig",
    "EarlyStoppingConfig",
    "EscapeConfig",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Option",
    "PrecisionConfig",
    "ScheduleConfig",
    "TrainConfig",
    "flatten",
    "leaves",
    "unflatten",
]

OPTIONS = ("model.options.", "loss.options.", "data.options.")
"""What the fields begin with that a person's own functions have, whatever their names are."""
PERCEPTRON = "perceptron"
STATISTICS = ("running", "batch")
PLACEMENTS = ("auto", "device", "host")
PRECISIONS = ("float32", "bfloat16")
STORAGES = ("memory", "disk")


@dataclasses.dataclass
class AugmentConfig:
    """How training examples are changed anew at every step; 0 leaves a change out."""

    shift: float = 0.0
    """Of an image: most pixels along each axis."""
    rotation: float = 0.0
    """Of an image: largest angle in degrees."""
    scale: float = 0.0
    """Of an image: largest relative change of its size."""
    cutout: int = 0
    """Of an image: side in pixels of a square that is set to the mean."""
    noise: float = 0.0
    """Standard deviation of what is added to every feature."""
    feature_dropout: float = 0.0
    """Probability that a feature is set to the mean."""
    mixup: float = 0.0
    """alpha of the Beta distribution by which examples are mixed in pairs, targets too."""
    function: str = ""
    """`file.py:function` of one's own, `(key, batch) -> batch`, applied before the others."""


@dataclasses.dataclass
class DataConfig:
    """What is learned from."""

    name: str = "digits"
    """`digits`, `breast_cancer`, `diabetes`, any classification set of TensorFlow Datasets that was prepared, a file
    (.csv, .parquet, .npz), a folder of .npy files, or a function `file.py:load`."""
    target: str = ""
    """The column to predict, or several with commas between; of arrays the name of the targets."""
    task: str = "auto"
    """`classes` or `numbers`: what the targets are; `auto` for what the loss takes."""
    ignore: str = ""
    """Columns to leave out, with commas between."""
    missing: str = "refuse"
    """Values that a table lacks: `refuse` them, or fill in the `mean`, the `median` or `zero`."""
    normalization: str = "feature"
    """Mean 0 and deviation 1 for each `feature`, for each `channel` (the last axis), or `none`."""
    standardize_targets: bool = True
    """Give targets that are numbers mean 0 and deviation 1; false for probabilities, and other scales that matter."""
    split_column: str = ""
    """Column that says train, validation or test."""
    group_column: str = ""
    """Column whose equal values stay on one side of every split."""
    stratify: str = "auto"
    """Give every part its share of every class: `yes`, `no`, or where a file has classes (`auto`)."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of a `file.py:load` of one's own."""
    batch_size: int = 32
    validation_fraction: float = 0.1
    """Share of the training examples that is held out for validation, drawn with the seed."""
    test_fraction: float = 0.2
    """Share of all examples that is held out for the test, where a set has no test part; always the same ones."""
    train_fraction: float = 1.0
    """Share of the training part that is used; a smaller one is a part of a larger one."""
    label_noise: float = 0.0
    """Share of the training examples that are given another class, drawn with the seed."""
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    directory: str = ""
    """Where prepared sets lie; empty for `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    placement: str = "auto"
    """Keep the training set on the `device`, stream it from the `host`, or decide by its size (`auto`)."""
    storage: str = "memory"
    """Load the features into `memory`, or leave them in their files on `disk`, from which they are streamed."""
    shuffle_window: int = 65536
    """Of a set on disk: training examples that are shuffled together."""


@dataclasses.dataclass
class ModelConfig:
    """The network: the multilayer perceptron of the fields below, or one's own of `build` and `options`."""

    build: str = "perceptron"
    """`perceptron`, or `file.py:function` with `function(example, outputs, **options) -> Network`."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of a network of one's own, by name."""
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
    """A loss by its name, or `file.py:function` with `function(outputs, targets, **options)`, which gives the measures
    of each example by name, among them `loss`."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of a loss of one's own, by name."""
    outputs: int = 0
    """Outputs that a loss of one's own needs; 0 for one for each class, or for each number to predict."""


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
class PrecisionConfig:
    """The floating-point type of the arithmetic."""

    compute: str = "float32"
    """Of the layers, in steps, validation and test: `float32`, or `bfloat16`. Parameters, the optimizer's averages,
    running statistics, losses and norms are in float32 with both."""


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
    mode: str = "auto"
    """`min` or `max`: whether lower or higher is better; `auto` for max where accuracy is in the name, else min."""
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
class DiagnosisConfig:
    """How often the layers of the network are looked at."""

    every_epochs: int = 0
    """Log gradients, updates, and dead and saturated units by layer every so many epochs; 0 never does."""


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
class MeshConfig:
    """How the devices are divided between examples and weights. Results do not depend on it, but for rounding."""

    data: int = 0
    """Devices that each batch is divided among; 0 for as many as `model` leaves."""
    model: int = 1
    """Devices that weights, the optimizer's averages and vectors of curvature are divided among."""
    rule: str = ""
    """`file.py:function` of one's own, `(path, shape, devices) -> dimension or None`: which dimension of an array is
    divided; empty for the largest that divides."""


@dataclasses.dataclass
class Config:
    """One experiment."""

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    precision: PrecisionConfig = dataclasses.field(default_factory=PrecisionConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    curvature: CurvatureConfig = dataclasses.field(default_factory=CurvatureConfig)
    diagnosis: DiagnosisConfig = dataclasses.field(default_factory=DiagnosisConfig)
    escape: EscapeConfig = dataclasses.field(default_factory=EscapeConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Maps every field's dotted path to its value.

    >>> flatten(Config())["optimizer.name"]
    'adam'
    """
    return {path: value for path, value, _ in leaves(config, prefix)}


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
        if path not in known and not path.startswith(OPTIONS):
            raise UserError(f"{path} is no field of the config; it was written by another version")
        *parents, name = path.split(".")
        owner: Any = config
        for parent in parents:
            owner = getattr(owner, parent)
        plain = tuple(value) if isinstance(value, list) else value
        if isinstance(owner, dict):
            owner[name] = plain
        else:
            setattr(owner, name, plain)
    return config


class Option:
    """The type of an option of a person's own function: whatever JSON keeps."""


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every field with its value and its type.

    Args:
        config: a config, or a part of one.
        prefix: of the dotted paths.

    Yields:
        The path, the value, and the type that it must have.

    Raises:
        UserError: there is an attribute that is no field, or a part is none.

    >>> next(leaves(Config()))
    ('seed', 0, <class 'int'>)
    """
    kinds = typing.get_type_hints(type(config))
    for name in vars(config):
        if name not in kinds:
            raise UserError(f"{prefix}{name} is no field of the config; fields here: {', '.join(kinds)}")
    for name, kind in kinds.items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, typing.cast(type, kind)):
                raise UserError(f"{prefix}{name} is {value!r}; it must be a {getattr(kind, '__name__', kind)}")
            yield from leaves(value, f"{prefix}{name}.")
        elif typing.get_origin(kind) is dict:
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise UserError(f"{prefix}{name} is {value!r}; it must be a dict of options by name")
            yield from ((f"{prefix}{name}.{key}", option, Option) for key, option in value.items())
        else:
            yield f"{prefix}{name}", value, kind
