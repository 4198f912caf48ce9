"""Programs of the development part, with healthy variants: thresholds are set by them."""

from benchmarks.diagnosis.case import DEVELOPMENT, Program
from benchmarks.diagnosis.overrides import mnist, network, own

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
)
