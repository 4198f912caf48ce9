"""Programs that work, with healthy variants; every one belongs to the development or to the held-out part, whole."""

from typing import Any

from benchmarks.diagnosis.case import DEVELOPMENT, HELD_OUT, Program


def own(source: str, fault: str = "none", amount: float = 0.5) -> dict[str, Any]:
    """Fields that take the data of `own/examples.py`.

    Args:
        source: one of its `SOURCES`.
        fault: one of its `FAULTS`.
        amount: of the fault.

    Returns:
        Fields by their dotted paths.
    """
    return {
        "data.name": "examples.py:load",
        "data.split_column": "part",
        "data.options.source": source,
        "data.options.fault": fault,
        "data.options.amount": amount,
    }


def mnist(fault: str = "none", amount: float = 0.5) -> dict[str, Any]:
    """Fields that take a part of MNIST, with a fault of `own/examples.py` in it.

    Args:
        fault: one of its `FAULTS`.
        amount: of the fault.

    Returns:
        Fields by their dotted paths.
    """
    return {"data.name": f"mnist-{fault}-{amount:g}.npz", "data.split_column": "part"}


def network(function: str, **options: Any) -> dict[str, Any]:
    """Fields that take a network of `own/networks.py`.

    Args:
        function: its name.
        options: of it.

    Returns:
        Fields by their dotted paths.
    """
    return {"model.build": f"networks.py:{function}", **{f"model.options.{name}": v for name, v in options.items()}}


_WARM = {"schedule.shape": "cosine", "schedule.warmup_steps": 60}
_SGD = "momentum"

PROGRAMS = (
    Program(
        "digits-relu",
        DEVELOPMENT,
        {"data.name": "digits", "model.hidden_sizes": (64, 64), "train.epochs": 20},
        "accuracy",
        0.95,
        {
            "dropout": {"model.dropout": 0.2, "train.epochs": 30},
            "warm-up": {**_WARM, "optimizer.learning_rate": 3e-3, "data.batch_size": 64},
            "own data": own("digits"),
        },
    ),
    Program(
        "digits-tanh-deep",
        DEVELOPMENT,
        {
            "data.name": "digits",
            "model.hidden_sizes": (48, 48, 48),
            "model.activation": "tanh",
            "model.initializer": "glorot",
            "model.batch_norm": False,
            "optimizer.name": _SGD,
            "optimizer.learning_rate": 0.02,
            "train.epochs": 25,
        },
        "accuracy",
        0.95,
        {
            "early stopping": {"early_stopping.patience": 6, "train.epochs": 60},
            "small batch": {"data.batch_size": 8, "optimizer.learning_rate": 0.005, "train.epochs": 15},
        },
    ),
    Program(
        "breast-cancer",
        DEVELOPMENT,
        {
            "data.name": "breast_cancer",
            "model.hidden_sizes": (16,),
            "model.batch_norm": False,
            "loss.name": "sigmoid",
            "optimizer.learning_rate": 3e-3,
            "train.epochs": 25,
            "data.batch_size": 16,
        },
        "accuracy",
        0.94,
        {
            "input noise": {"model.input_noise": 0.2, "seed": 3},
        },
    ),
    Program(
        "diabetes",
        DEVELOPMENT,
        {
            "data.name": "diabetes",
            "model.hidden_sizes": (16,),
            "model.batch_norm": False,
            "model.activation": "tanh",
            "loss.name": "squared_error",
            "optimizer.learning_rate": 3e-3,
            "optimizer.l2": 1e-2,
            "train.epochs": 30,
        },
        "loss",
        0.62,
        {"linear schedule": {"schedule.shape": "linear", "model.activation": "relu", "seed": 1}},
    ),
    Program(
        "mnist-relu",
        DEVELOPMENT,
        {**mnist(), "model.hidden_sizes": (128,), "train.epochs": 6, "data.batch_size": 64, "model.dropout": 0.2},
        "accuracy",
        0.91,
        {
            "tanh, dropout": {"model.activation": "tanh", "optimizer.l2": 1e-3},
        },
    ),
    Program(
        "convolutions",
        DEVELOPMENT,
        {"data.name": "digits", **network("convolutions"), "optimizer.learning_rate": 2e-3, "train.epochs": 12},
        "accuracy",
        0.95,
        {
            "batch normalization": {"model.options.batch_norm": True},
            "dropout, momentum": {
                "model.options.dropout": 0.3,
                "optimizer.name": _SGD,
                "optimizer.learning_rate": 0.01,
            },
        },
    ),
    Program(
        "wave",
        DEVELOPMENT,
        {
            **own("waves"),
            "loss.name": "squared_error",
            **network("wave"),
            "optimizer.name": _SGD,
            "optimizer.learning_rate": 0.01,
            "train.epochs": 20,
        },
        "loss",
        0.05,
        {},
    ),
    Program(
        "xor",
        DEVELOPMENT,
        {
            **own("xor"),
            "model.hidden_sizes": (16,),
            "model.batch_norm": False,
            "optimizer.learning_rate": 1e-2,
            "train.epochs": 20,
        },
        "accuracy",
        0.97,
        {"sigmoid loss": {"loss.name": "sigmoid", "model.activation": "tanh"}},
    ),
    Program(
        "digits-gelu",
        HELD_OUT,
        {
            "data.name": "digits",
            "model.hidden_sizes": (128,),
            "model.activation": "gelu",
            "model.batch_norm": False,
            "optimizer.name": "adamw",
            "train.epochs": 20,
        },
        "accuracy",
        0.95,
        {
            "warm-up, dropout": {**_WARM, "model.dropout": 0.3, "optimizer.learning_rate": 2e-3},
            "lamb": {"optimizer.name": "lamb", "optimizer.learning_rate": 0.005},
        },
    ),
    Program(
        "digits-relu-deep",
        HELD_OUT,
        {
            "data.name": "digits",
            "model.hidden_sizes": (64, 64, 64, 64),
            "model.batch_norm": False,
            "optimizer.name": _SGD,
            "optimizer.learning_rate": 0.01,
            "optimizer.l2": 2e-3,
            "train.epochs": 15,
        },
        "accuracy",
        0.95,
        {
            "batch normalization, l2": {"model.batch_norm": True, "optimizer.l2": 1e-3, "train.epochs": 15},
            "early stopping": {"early_stopping.patience": 5, "train.epochs": 50, "seed": 4},
        },
    ),
    Program(
        "customers",
        HELD_OUT,
        {
            "data.name": "customers.csv",
            "data.target": "answer",
            "data.split_column": "part",
            "model.hidden_sizes": (32, 32),
            "optimizer.learning_rate": 3e-3,
            "train.epochs": 15,
        },
        "accuracy",
        0.88,
        {
            "gelu, decay": {"model.activation": "gelu", "optimizer.name": "adamw", "model.batch_norm": False},
            "early stopping": {"early_stopping.patience": 5, "train.epochs": 40, "model.dropout": 0.1},
        },
    ),
    Program(
        "friedman",
        HELD_OUT,
        {
            **own("friedman"),
            "model.hidden_sizes": (32, 32),
            "model.batch_norm": False,
            "loss.name": "squared_error",
            "optimizer.learning_rate": 3e-3,
            "optimizer.l2": 1e-3,
            "train.epochs": 15,
        },
        "loss",
        0.10,
        {
            "gelu, cosine": {"model.activation": "gelu", **_WARM},
            "momentum": {"optimizer.name": _SGD, "optimizer.learning_rate": 0.01, "model.activation": "tanh"},
        },
    ),
    Program(
        "mnist-tanh",
        HELD_OUT,
        {
            **mnist(),
            "model.hidden_sizes": (96, 48),
            "model.activation": "tanh",
            "model.initializer": "glorot",
            "optimizer.name": _SGD,
            "optimizer.learning_rate": 0.01,
            "optimizer.l2": 2e-3,
            "train.epochs": 6,
        },
        "accuracy",
        0.91,
        {
            "augmented": {"data.augment.shift": 1.0, "train.epochs": 8},
            "adam, large batch": {"optimizer.name": "adam", "optimizer.learning_rate": 3e-3, "data.batch_size": 128},
        },
    ),
    Program(
        "strided-convolutions",
        HELD_OUT,
        {
            "data.name": "digits",
            **network("convolutions", strided=True, channels=(12, 24), activation="gelu"),
            "optimizer.name": "rmsprop",
            "optimizer.learning_rate": 1e-3,
            "schedule.shape": "cosine",
            "train.epochs": 12,
        },
        "accuracy",
        0.95,
        {
            "relu, adam": {"model.options.activation": "relu", "optimizer.name": "adam", "data.batch_size": 16},
            "batch normalization": {"model.options.batch_norm": True, "seed": 5},
        },
    ),
    Program(
        "bump",
        HELD_OUT,
        {
            **own("bumps"),
            "loss.name": "squared_error",
            **network("bumps"),
            "optimizer.learning_rate": 3e-2,
            "train.epochs": 30,
        },
        "loss",
        0.12,
        {},
    ),
    Program(
        "rings",
        HELD_OUT,
        {
            **own("rings"),
            "model.hidden_sizes": (24,),
            "model.activation": "gelu",
            "model.batch_norm": False,
            "optimizer.learning_rate": 1e-2,
            "train.epochs": 20,
        },
        "accuracy",
        0.97,
        {"two layers": {"model.hidden_sizes": (12, 12), "model.activation": "relu", "data.batch_size": 16}},
    ),
)
