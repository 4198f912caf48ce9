"""Faults of the steps: rate, length, batch, regularization, scales of features, and what is not finite."""

from benchmarks.diagnosis.case import Plant
from benchmarks.diagnosis.overrides import network, own

_RATE, _EPOCHS, _BATCH = "optimizer.learning_rate", "train.epochs", "data.batch_size"
_RAW = {"data.normalization": "none"}
_LINEAR = {"model.hidden_sizes": ()}

PLANTS = (
    Plant("digits-tanh-deep", "undertrained", "one epoch", {_EPOCHS: 1}),
    Plant("breast-cancer", "undertrained", "one epoch, modest rate", {_EPOCHS: 1}),
    Plant("friedman", "undertrained", "one epoch, modest rate", {_EPOCHS: 1}),
    Plant("digits-relu-deep", "undertrained", "one epoch", {_EPOCHS: 1}),
    Plant("digits-tanh-deep", "rate_too_large", "momentum, saturating", {_RATE: 0.3}),
    Plant("diabetes", "rate_too_large", "adam", {_RATE: 0.3}, cheap=True),
    Plant("digits-relu-deep", "rate_too_large", "momentum", {_RATE: 0.5, "model.batch_norm": True}),
    Plant("friedman", "rate_too_large", "adam", {_RATE: 0.1, "model.activation": "tanh"}),
    Plant("mnist-tanh", "rate_too_large", "momentum", {_RATE: 1.0}),
    Plant("digits-relu", "rate_too_small", "adam", {_RATE: 2e-6}),
    Plant("diabetes", "rate_too_small", "adam", {_RATE: 2e-5}),
    Plant("digits-relu-deep", "rate_too_small", "momentum", {_RATE: 3e-5}),
    Plant("strided-convolutions", "rate_too_small", "rmsprop", {_RATE: 3e-6}),
    Plant(
        "diabetes",
        "stuck_not_critical",
        "sign of the gradient",
        {**_LINEAR, "optimizer.name": "rmsprop", "optimizer.second_moment_decay": 0.0, _RATE: 0.3},
    ),
    Plant(
        "diabetes",
        "stuck_not_critical",
        "absolute error",
        {**_LINEAR, "loss.name": "losses.py:absolute_error", "optimizer.name": "momentum", _RATE: 1.0},
    ),
    Plant(
        "digits-relu-deep",
        "stuck_not_critical",
        "sign of the gradient",
        {
            "optimizer.name": "adam",
            "optimizer.second_moment_decay": 0.0,
            "optimizer.momentum": 0.0,
            _RATE: 0.03,
            "model.activation": "tanh",
        },
    ),
    Plant(
        "friedman",
        "stuck_not_critical",
        "absolute error",
        {"loss.name": "losses.py:absolute_error", "optimizer.name": "momentum", _RATE: 0.1, "model.activation": "tanh"},
    ),
    Plant("breast-cancer", "unscaled_features", "as they come", _RAW, cheap=True),
    Plant(
        "digits-relu",
        "unscaled_features",
        "other units",
        {**own("digits", "scales", 3.0), **_RAW, "model.batch_norm": False},
    ),
    Plant("customers", "unscaled_features", "as they come", {**_RAW, "model.batch_norm": False}),
    Plant("friedman", "unscaled_features", "other units", {**own("friedman", "scales", 2.0), **_RAW}),
    Plant("digits-relu", "over_regularized", "dropout", {"model.dropout": 0.93}),
    Plant("mnist-relu", "over_regularized", "l2", {"optimizer.l2": 0.3}),
    Plant("diabetes", "over_regularized", "l2", {"optimizer.l2": 3.0}),
    Plant("digits-gelu", "over_regularized", "decoupled decay", {"optimizer.weight_decay": 100.0}),
    Plant("friedman", "over_regularized", "l1", {"optimizer.l1": 0.03}),
    Plant("mnist-tanh", "over_regularized", "noise", {"model.noise": 6.0}),
    Plant("digits-relu", "batch_too_large", "all examples", {_BATCH: 1294}),
    Plant("mnist-relu", "batch_too_large", "all examples", {_BATCH: 6000}),
    Plant("digits-gelu", "batch_too_large", "all examples", {_BATCH: 1294}),
    Plant("friedman", "batch_too_large", "all examples", {_BATCH: 2400}),
    Plant(
        "diabetes",
        "non_finite",
        "momentum without a bound",
        {"optimizer.name": "momentum", _RATE: 100.0, "model.activation": "relu"},
    ),
    Plant(
        "digits-tanh-deep",
        "non_finite",
        "logarithm of zero",
        {
            "loss.name": "losses.py:cross_entropy_by_hand",
            "optimizer.name": "momentum",
            _RATE: 3.0,
            "model.activation": "relu",
        },
        cheap=True,
    ),
    Plant(
        "breast-cancer",
        "non_finite",
        "exponential loss",
        {"loss.name": "losses.py:exponential", "loss.outputs": 1, "optimizer.name": "momentum", _RATE: 1.0},
    ),
    Plant(
        "digits-gelu",
        "non_finite",
        "softmax by hand",
        {"loss.name": "losses.py:softmax_by_hand", _RATE: 0.03},
    ),
    Plant("friedman", "non_finite", "logarithm of a negative number", {"loss.name": "losses.py:log_squared_error"}),
    Plant("digits-relu-deep", "non_finite", "momentum without a bound", {_RATE: 300.0}),
    Plant(
        "digits-tanh-deep",
        "saturated_loss",
        "softmax squared error",
        {
            "loss.name": "softmax_squared_error",
            **network("perceptron", hidden_sizes=(48, 48), activation="tanh", last_scale=30.0),
        },
    ),
    Plant(
        "breast-cancer",
        "saturated_loss",
        "sigmoid squared error",
        {
            "loss.name": "losses.py:sigmoid_squared_error",
            "loss.outputs": 1,
            **network("perceptron", hidden_sizes=(16,), last_bias=10.0),
            "optimizer.name": "momentum",
            _RATE: 0.02,
        },
    ),
    Plant(
        "rings",
        "saturated_loss",
        "sigmoid squared error",
        {
            "loss.name": "losses.py:sigmoid_squared_error",
            "loss.outputs": 1,
            **network("perceptron", hidden_sizes=(24,), activation="gelu", last_bias=-10.0),
            "optimizer.name": "momentum",
            _RATE: 0.02,
        },
    ),
    Plant(
        "strided-convolutions",
        "saturated_loss",
        "softmax squared error",
        {"loss.name": "softmax_squared_error", "model.options.last_scale": 60.0, _RATE: 2e-4},
    ),
)
