"""The lectures' optimizers as optax gradient transformations. Needs jax and optax only."""

from tricks.transforms.adaptive import (
    adam,
    rmsprop,
    root_mean_square,
    scale_by_adam,
    scale_by_rmsprop,
    scale_by_root_mean_square,
)
from tricks.transforms.decay import add_l1_decay, add_l2_decay, weights_only
from tricks.transforms.learning_rate import current_learning_rate, scale_by_learning_rate
from tricks.transforms.momentum import momentum, scale_by_momentum

__all__ = [
    "adam",
    "add_l1_decay",
    "add_l2_decay",
    "current_learning_rate",
    "momentum",
    "rmsprop",
    "root_mean_square",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "scale_by_rmsprop",
    "scale_by_root_mean_square",
    "weights_only",
]
