"""Faults of the start, and of networks that gradients do not get through."""

from typing import Any

from benchmarks.diagnosis.case import Plant
from benchmarks.diagnosis.overrides import network

_TANH = {"model.activation": "tanh", "model.batch_norm": False}
_HUGE_STEPS = {"schedule.shape": "exponential", "schedule.end_value": 1e-3}


def _zeros(*sizes: int, activation: str = "tanh") -> dict[str, Any]:
    return {**_TANH, "model.activation": activation, "model.hidden_sizes": sizes, "model.initializer": "zeros"}


def _identical(*sizes: int) -> dict[str, Any]:
    return {**_TANH, "model.hidden_sizes": sizes, "model.initializer": "identical"}


def _sigmoids(depth: int, width: int = 48) -> dict[str, Any]:
    return {
        "model.activation": "sigmoid",
        "model.batch_norm": False,
        "model.hidden_sizes": (width,) * depth,
        "model.initializer": "glorot",
        "optimizer.name": "momentum",
        "optimizer.learning_rate": 0.01,
    }


PLANTS = (
    Plant("digits-tanh-deep", "saddle", "zero weights", _zeros(32), cheap=True),
    Plant("mnist-relu", "saddle", "zero weights", _zeros(64)),
    Plant("breast-cancer", "saddle", "zero weights, linear", _zeros(16, activation="linear")),
    Plant("digits-gelu", "saddle", "zero weights", {"model.initializer": "zeros"}),
    Plant("customers", "saddle", "zero weights, linear", _zeros(16, activation="linear")),
    Plant("digits-relu-deep", "saddle", "zero weights", _zeros(32)),
    Plant("digits-tanh-deep", "degenerate_plateau", "zero weights, deep", _zeros(32, 32)),
    Plant("breast-cancer", "degenerate_plateau", "product of three", network("polynomial", depth=3)),
    Plant("digits-relu-deep", "degenerate_plateau", "zero weights, deep", _zeros(32, 32, 32)),
    Plant("friedman", "degenerate_plateau", "product of four", network("polynomial", depth=4)),
    Plant(
        "wave",
        "minimum",
        "another frequency",
        {"model.options.frequency": 4.7, "train.epochs": 40, "schedule.shape": "cosine"},
        cheap=True,
    ),
    Plant("xor", "minimum", "convex", {"model.hidden_sizes": (), "loss.name": "sigmoid", "optimizer.l2": 1e-3}),
    Plant("bump", "minimum", "at the low bump", {"model.options.start": (-0.9, -0.9), "schedule.shape": "cosine"}),
    Plant("rings", "minimum", "convex", {"model.hidden_sizes": (), "loss.name": "sigmoid", "optimizer.l2": 1e-3}),
    Plant("xor", "unlucky_start", "four units", {"model.hidden_sizes": (4,)}, 3),
    Plant("xor", "unlucky_start", "five units", {"model.hidden_sizes": (5,)}, 8, cheap=True),
    Plant("rings", "unlucky_start", "three units", {"model.hidden_sizes": (3,), "model.activation": "relu"}, 2),
    Plant("rings", "unlucky_start", "four units", {"model.hidden_sizes": (4,), "model.activation": "relu"}, 11),
    Plant("digits-tanh-deep", "vanishing_gradients", "sigmoids", _sigmoids(6)),
    Plant("mnist-relu", "vanishing_gradients", "sigmoids", _sigmoids(5)),
    Plant("digits-relu-deep", "vanishing_gradients", "sigmoids", _sigmoids(7)),
    Plant(
        "digits-gelu",
        "vanishing_gradients",
        "small tanh layers",
        {
            **network("perceptron", hidden_sizes=(48,) * 8, activation="tanh", scale=0.35),
            "optimizer.name": "momentum",
            "optimizer.learning_rate": 0.01,
        },
    ),
    Plant(
        "digits-tanh-deep",
        "exploding_gradients",
        "large weights, deep",
        {**network("perceptron", hidden_sizes=(48,) * 6, scale=3.0), "optimizer.learning_rate": 1e-6},
    ),
    Plant(
        "digits-relu",
        "exploding_gradients",
        "recurrence",
        {**network("recurrent", gain=3.0, activation="relu")},
    ),
    Plant(
        "digits-relu-deep",
        "exploding_gradients",
        "large weights, deep",
        {**network("perceptron", hidden_sizes=(48,) * 7, scale=2.5), "optimizer.learning_rate": 1e-6},
    ),
    Plant("digits-gelu", "exploding_gradients", "residual sums", network("residual", depth=12, gain=2.0)),
    Plant("digits-relu", "dead_units", "negative biases", network("perceptron", hidden_sizes=(64, 64), bias=-6.0)),
    Plant("convolutions", "dead_units", "negative biases", {"model.options.bias": -6.0}),
    Plant(
        "digits-relu",
        "dead_units",
        "huge first steps",
        {"model.batch_norm": False, "optimizer.name": "momentum", "optimizer.learning_rate": 1.0, **_HUGE_STEPS},
    ),
    Plant(
        "digits-relu-deep", "dead_units", "negative biases", network("perceptron", hidden_sizes=(64,) * 4, bias=-4.0)
    ),
    Plant(
        "strided-convolutions",
        "dead_units",
        "negative biases",
        {"model.options.activation": "relu", "model.options.bias": -6.0},
    ),
    Plant(
        "digits-tanh-deep",
        "saturated_units",
        "large weights",
        network("perceptron", hidden_sizes=(48, 48, 48), activation="tanh", scale=15.0),
    ),
    Plant(
        "mnist-relu",
        "saturated_units",
        "huge first steps",
        {**_TANH, "optimizer.name": "momentum", "optimizer.learning_rate": 50.0, **_HUGE_STEPS},
    ),
    Plant(
        "mnist-tanh",
        "saturated_units",
        "large weights",
        network("perceptron", hidden_sizes=(96, 48), activation="tanh", scale=20.0),
    ),
    Plant(
        "digits-relu-deep",
        "saturated_units",
        "huge first steps",
        {**_TANH, "optimizer.learning_rate": 30.0, **_HUGE_STEPS},
    ),
    Plant("digits-relu", "bad_initialization", "ten times", network("perceptron", hidden_sizes=(64, 64), scale=10.0)),
    Plant("digits-tanh-deep", "bad_initialization", "identical units", _identical(32)),
    Plant("convolutions", "bad_initialization", "ten times", {"model.options.scale": 10.0}),
    Plant("digits-gelu", "bad_initialization", "identical units", {"model.initializer": "identical"}),
    Plant(
        "digits-relu-deep",
        "bad_initialization",
        "a hundredth",
        network("perceptron", hidden_sizes=(64, 64, 64), activation="gelu", scale=0.01),
    ),
    Plant("strided-convolutions", "bad_initialization", "ten times", {"model.options.scale": 10.0}),
)
