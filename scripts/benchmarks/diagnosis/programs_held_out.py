"""Programs of the held-out part, with healthy variants: they are for the last table alone."""

from benchmarks.diagnosis.case import HELD_OUT, Program
from benchmarks.diagnosis.overrides import mnist, network, own

_WARM = {"schedule.shape": "cosine", "schedule.warmup_steps": 60}
_SGD = "momentum"

PROGRAMS = (
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
